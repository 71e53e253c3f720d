//! Repository chores: `cargo xtask help` lists them.
//!
//! Needs Linux or macOS. Everything a chore starts is ended with it, also on Ctrl-C; the exception
//! is `services up`, whose servers stay until `services down`.

mod bench;
mod ci;
mod cli;
mod deny;
mod doc;
mod features;
mod interrupt;
mod lint;
mod msrv;
mod process;
mod services;
mod soak;
mod test;
mod valgrind;
mod workspace;

use std::process::ExitCode;

use cli::{Chore, ServicesVerb};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code_of(&error)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    match cli::parse(std::env::args().skip(1))? {
        Chore::Help => print!("{}", cli::HELP),
        Chore::Services(ServicesVerb::Up) => services::up()?,
        Chore::Services(ServicesVerb::Down) => services::down()?,
        Chore::Services(ServicesVerb::Status) => return services::status(),
        Chore::Test {
            embedded: true,
            arguments,
        } => println!("{}", test::embedded(&arguments)?),
        Chore::Test {
            embedded: false,
            arguments,
        } => println!("{}", test::everything(&arguments)?),
        Chore::Lint => lint::lint()?,
        Chore::Doc => doc::doc()?,
        Chore::Features { vendored } => features::features(vendored)?,
        Chore::Msrv => msrv::msrv()?,
        Chore::Deny => deny::deny()?,
        Chore::Bench { name, arguments } => bench::bench(&name, &arguments)?,
        Chore::Valgrind => valgrind::valgrind()?,
        Chore::Soak { minutes, seed } => soak::soak(minutes, seed)?,
        Chore::Ci => ci::ci()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Return what shells expect: 130 after Ctrl-C or SIGTERM, 1 otherwise.
fn exit_code_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<interrupt::Interrupted>() {
        ExitCode::from(130)
    } else {
        ExitCode::FAILURE
    }
}
