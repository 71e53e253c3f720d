#![deny(warnings)]

use std::error::Error;
use std::fmt;

use athomic::prelude::*;

#[subscribe_to(topic = "payments.v1")]
async fn nothing(_paid: u64) {}

#[subscribe_to(topic = "payments.v1")]
async fn unit(_paid: u64) -> () {}

#[subscribe_to(topic = "payments.v1")]
async fn classified(_paid: u64) -> Result<(), HandlerError> {
    "5".parse::<u64>()?;
    Ok(())
}

#[subscribe_to(topic = "payments.v1")]
async fn own_error(_paid: u64) -> Result<(), fmt::Error> {
    Err(fmt::Error)
}

#[subscribe_to(topic = "payments.v1")]
async fn boxed_error(_paid: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    Err("no")?
}

#[subscribe_to(topic = "payments.v1")]
async fn text(_paid: u64) -> Result<(), String> {
    Ok(())
}

#[subscribe_to(topic = "payments.v1")]
async fn outcome(_paid: u64) -> Outcome {
    Outcome::Ack
}

#[subscribe_to(topic = "payments.v1")]
async fn outcome_or_error(_paid: u64) -> Result<Outcome, HandlerError> {
    Ok(Outcome::Ack)
}

#[subscribe_to(topic = "payments.v1")]
async fn outcome_of_any_kind(_paid: u64) -> impl athomic::outcome::IntoOutcome {
    Outcome::Ack
}

#[subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn batch(_paid: Vec<u64>) -> Result<(), HandlerError> {
    Ok(())
}

#[subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn batch_each(paid: Vec<u64>) -> Vec<Result<(), HandlerError>> {
    paid.iter().map(|_| Ok(())).collect()
}

#[subscribe_to(topic = "payments.v1", batch_size = 10)]
async fn batch_each_or_error(_paid: Vec<u64>) -> Result<Vec<Outcome>, HandlerError> {
    Ok(vec![])
}

fn main() {}
