// The page's own JavaScript. `acvis` has the functions that its events call.
(() => {
  let at = 0;  // seconds: where both players stand, or begin when a video is loaded
  let waits = false;  // whether a run was begun that has not finished; it may still be in the queue
  const BUSY = 'A run is in progress: wait until it has finished, or press Cancel.';
  const sayBusy = (text) => {
    const busy = document.querySelector('#busy [role=status]');
    if (busy) busy.textContent = text;
  };
  const end = () => { waits = false; sayBusy(''); };
  const players = () => [...document.querySelectorAll('#viewers video')];
  const inViewers = (event) => event.target.matches && event.target.matches('#viewers video');
  const inView = (element) => {
    const box = element.getBoundingClientRect();
    return box.top >= 0 && box.top < window.innerHeight * 0.7;
  };
  const show = (element) => {
    if (element && !inView(element)) element.scrollIntoView({block: 'start'});
  };
  const place = (seconds) => {
    at = seconds;
    players().forEach((video) => { if (video.paused && video.readyState) video.currentTime = seconds; });
  };
  // A little later than the frame begins: rounding must not show the frame before it.
  const go = (t) => place(Number(t) + 0.02);
  const play = (seconds) => {
    const videos = players();
    videos.forEach((video, i) => {
      video.currentTime = seconds;
      video.muted = i < videos.length - 1;  // one sound at a time: that of the last one, on the right
    });
    videos.forEach((video) => video.play());
  };
  const hasTrouble = () => document.querySelector('#status [role=alert]');
  window.acvis = {
    begin: () => { waits = true; show(document.querySelector('#summary')); return ''; },
    finish: (t) => {
      end();
      if (!hasTrouble()) go(t);
      show(document.querySelector(hasTrouble() ? '#status' : '#summary'));
    },
    go,
    cancel: () => { const waited = waits; end(); return waited; },  // whether there was a run to cancel
    playBoth: () => {
      const ended = players().some((video) => video.duration && at >= video.duration - 0.1);
      play(ended ? 0 : at);
    },
    playFromBeginning: () => play(0),
    // A reload keeps the tab's secret, by which the server knows its takes; another tab has another one.
    token: () => {
      const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
      const fresh = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
      try {
        const kept = sessionStorage.getItem('acvis-token') || fresh;
        sessionStorage.setItem('acvis-token', kept);
        return kept;
      } catch { return fresh; }  // a frame of another site may have no storage
    },
  };
  document.addEventListener('loadedmetadata', (event) => {
    if (inViewers(event)) event.target.currentTime = at;
  }, true);
  for (const name of ['timeupdate', 'seeked']) document.addEventListener(name, (event) => {
    const video = event.target;  // loading another video sets the time to 0: that is no wish of the visitor
    if (inViewers(event) && video.readyState > 1 && video.currentTime > 0) at = video.currentTime;
  }, true);
  // A run button does nothing during a run, and says so; gradio would ignore it, or begin another run afterwards.
  document.addEventListener('click', (event) => {
    if (!waits || !event.target.closest || !event.target.closest('#run, #run-all, #examples button')) return;
    event.stopImmediatePropagation();
    sayBusy(BUSY);
  }, true);
  // A click on the timeline moves the slider and the paused videos to that second.
  const select = (seconds) => {
    const input = document.querySelector('#second input[type=number]');
    const second = Math.floor(seconds);  // a click within a second selects that second
    if (input && second >= 0 && second <= Number(input.max || 1e9)) {
      const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
      set.call(input, second);
      input.dispatchEvent(new Event('input', {bubbles: true}));
      input.dispatchEvent(new Event('change', {bubbles: true}));
    }
    place(seconds);
  };
  document.addEventListener('click', (event) => {
    const plot = event.target.closest && event.target.closest('#timeline .js-plotly-plot');
    if (!plot || !plot._fullLayout) return;
    const axis = plot._fullLayout.xaxis;
    const drag = plot.querySelector('.nsewdrag');
    if (!drag) return;
    const seconds = axis.p2d(event.clientX - drag.getBoundingClientRect().left);
    if (seconds >= 0 && seconds < axis.range[1]) select(seconds);
  }, true);
  // A clip that the browser does not play is no error: Run makes a copy. So gradio's player must not get the event.
  document.addEventListener('error', (event) => {
    const clip = event.target.matches && event.target.matches('#clip video') && event.target.closest('#clip');
    if (!clip) return;
    event.stopImmediatePropagation();
    clip.classList.add('unplayable');
  }, true);
  document.addEventListener('loadedmetadata', (event) => {
    const clip = event.target.matches && event.target.matches('#clip video') && event.target.closest('#clip');
    if (clip) clip.classList.remove('unplayable');
  }, true);
  // For a clip gradio takes what the visitor's system calls video/*: no .ts where that is a translation. A sound or a
  // picture is taken too: the server says what it is good for.
  const asVideo = (file) => {
    const known = [...ACVIS_SUFFIXES, ...ACVIS_PICTURES].some((suffix) => file.name.toLowerCase().endsWith(suffix));
    return known && !file.type.startsWith('video/') ? new File([file], file.name, {type: 'video/x-media'}) : file;
  };
  const asVideos = (files) => {
    const taken = new DataTransfer();
    for (const file of files) taken.items.add(asVideo(file));
    return taken;
  };
  document.addEventListener('change', (event) => {
    if (event.target.matches('#clip input[type=file]')) event.target.files = asVideos(event.target.files).files;
  }, true);
  document.addEventListener('drop', (event) => {
    if (!event.isTrusted || !event.dataTransfer.files.length || !event.target.closest('#clip')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const dataTransfer = asVideos(event.dataTransfer.files);
    event.target.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer}));
  }, true);
  // gradio's players have no accessible names, some of its other parts have wrong ones.
  const names = {clip: 'The clip', 'left-video': 'The video to compare with', 'right-video': 'The main video'};
  new MutationObserver(() => {
    for (const [id, name] of Object.entries(names)) {
      document.querySelectorAll(`#${id} video:not([aria-label])`).forEach((video) => {
        video.setAttribute('aria-label', name);
      });
      document.querySelectorAll(`#${id} [aria-label=play-pause-replay-button]`).forEach((button) => {
        button.setAttribute('aria-label', `Play or pause: ${name.toLowerCase()}`);
      });
      document.querySelectorAll(`#${id} .empty[aria-label]:not([role])`).forEach((empty) => {
        empty.setAttribute('role', 'img');
        empty.setAttribute('aria-label', `${name}: none yet`);
      });
    }
    document.querySelectorAll('#clip input[type=file]:not([accept*=".ts"])').forEach((input) => {
      input.accept = ['video/*', '.gif', ...ACVIS_SUFFIXES].join();
    });
    document.querySelectorAll('button[aria-dropeffect][aria-label]').forEach((upload) => {
      upload.removeAttribute('aria-label');  // its text says more
    });
    document.querySelectorAll('#code .cm-scroller:not([role])').forEach((code) => {
      code.setAttribute('role', 'region');
      code.setAttribute('aria-label', 'This run in Python');
      code.tabIndex = 0;  // it can be scrolled with the keyboard
    });
  }).observe(document.documentElement, {childList: true, subtree: true});
})();
