//! What the compiler says to a handler that is none: the first lines must name the cause.
//!
//! After a change on purpose, `TRYBUILD=overwrite cargo test -p nexios --all-features --test it compile_fail` writes the files anew;
//! read what it wrote.

#[test]
fn mistakes_in_handlers_are_named_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
