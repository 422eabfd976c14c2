"""The C and CUDA dialect of the compiled interval code: one source, printed for another machine."""
