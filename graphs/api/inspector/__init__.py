"""The inspector: a web page where users see and correct their own memory."""
