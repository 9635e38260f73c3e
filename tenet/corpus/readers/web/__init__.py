"""From a page to what its author wrote: the blocks of the page, and which of them are its content."""
