"""One builder per page."""
