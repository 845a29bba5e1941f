"""Conversations: sessions, turns, the context of a run, recalls and their receipts."""
