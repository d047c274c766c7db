"""Captures: read and write pcapng, dissect, find calls, draw ladders, measure and decode RTP.  All it says comes from bytes on the wire."""
