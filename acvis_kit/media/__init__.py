"""Reading and writing media: clips from files (`load`), sound (`sound`, `wav`, `mel`, `edit`), videos (`write`)."""
