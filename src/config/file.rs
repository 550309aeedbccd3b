//! The file as it is written: tables, keys and values with their positions.
