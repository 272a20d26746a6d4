"""Media in and out: files to clips (`load`), sound and its edits (`sound`, `edit`, `mel`), videos (`write`)."""
