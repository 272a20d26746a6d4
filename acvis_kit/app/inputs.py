"""What requests bring to the handlers, before gradio makes values of components from it."""

from __future__ import annotations

import html
import logging
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from acvis_kit.fields import is_number

NO_FUNCTION = "The page has no such function."
NO_ADDRESSES = "The page fetches no files from other hosts: download the file, then upload it."
NOT_UPLOADED = "This file was not uploaded to the page: upload it, then give the path that the page answers with."
UNUSABLE = "The page cannot use these values: give one of the right kind for each parameter (see the page's API)."
LONGEST = 300  # characters of gradio's own messages, which repeat values

logger = logging.getLogger(__name__)


class Page(gr.Blocks):
    """Blocks that fetch nothing for a visitor, clamp numbers of sliders, and answer unusable values with a sentence.

    By itself gradio downloads, whole and into memory, what a file's path names as an address. It answers values that
    its components do not take, and requests for what only the browser does, with an empty error.
    """

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any = None, *args: Any, **options: Any
    ) -> Any:
        """The values for a handler, from those of a request.

        Raises:
            gr.Error: with the message to show, for whatever is wrong with them.
        """
        if getattr(block_fn, "fn", NO_FUNCTION) is None:  # the browser's part alone
            raise _spoken(NO_FUNCTION)
        try:
            traverse(inputs, _refuse_address, is_file_obj_with_meta)  # what gradio takes for a file
            given = [*inputs]
            for n, block in enumerate(block_fn.inputs[: len(given)]):
                if isinstance(block, gr.Slider):  # the visitor's own has the range that a take gave it
                    own = state[block._id] if state is not None and block._id in state else block
                    given[n] = _clamped(own, given[n])
            return await super().preprocess_data(block_fn, given, state, *args, **options)
        except gr.Error as error:
            message = str(error.message)
            raise _spoken(message if len(message) <= LONGEST else f"{message[:LONGEST]}...") from None
        except InvalidPathError:
            raise _spoken(NOT_UPLOADED) from None
        except Exception as error:
            logger.info("unusable values: %.1000r", error)
            raise _spoken(UNUSABLE) from None


def _clamped(slider: gr.Slider, value: Any) -> Any:
    """The nearest of a slider's values to a number, and the least for an empty box; other values as they are.

    The box beside a slider does the same when it is left. Until then gradio would answer with an error, in place of
    results.
    """
    low, high = slider.minimum, slider.maximum
    if value is None:
        return low
    if not is_number(value):
        return value
    return min(value, high) if value >= low else low  # the least for NaN, too


def _refuse_address(file: dict[str, Any]) -> dict[str, Any]:
    if is_http_url_like(file["path"]):
        raise gr.Error(NO_ADDRESSES)
    return file


def _spoken(message: str) -> gr.Error:
    return gr.Error(html.escape(message, quote=False), print_exception=False)
