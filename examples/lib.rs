//! The examples are programs: each file beside this one is one, with its command in its header.
