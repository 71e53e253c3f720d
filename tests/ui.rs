//! What the attributes say of mistakes, one in each file, and what they take.

/// `TRYBUILD=overwrite cargo test --test ui` writes the expected output anew; read each one then.
#[test]
fn mistakes_are_named_on_the_users_own_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*/fail/*.rs");
    cases.pass("tests/ui/*/pass/*.rs");
}
