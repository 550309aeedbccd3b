//! From the file to its meaning.
