//! The schedule against published values.
