//! The Redis stores of athomic; thin until ordered consumption is built.
