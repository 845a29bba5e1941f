"""The inspector: a web page on which people see and correct their own memory."""
