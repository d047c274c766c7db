"""Media without sockets: RTP, RTCP, G.711, the decoders of the lab's codecs, WAV files.  Bytes and samples in, bytes and samples out."""
