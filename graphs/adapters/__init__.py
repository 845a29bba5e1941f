"""Adapters: services outside that are told what happens here. Off unless they are switched on."""
