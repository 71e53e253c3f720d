//! What the attributes say of mistakes, one in each file, and what they take.

/// `TRYBUILD=overwrite cargo test --test ui` writes the expected output anew; read each one then.
///
/// With more features other crates are there whose traits have the same names, and the compiler writes ours
/// with their paths. `cargo xtask test` runs it by itself.
#[test]
#[cfg_attr(
    feature = "kafka",
    ignore = "the words are those without features: cargo test --test ui"
)]
fn mistakes_are_named_on_the_users_own_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*/fail/*.rs");
    cases.pass("tests/ui/*/pass/*.rs");
}
