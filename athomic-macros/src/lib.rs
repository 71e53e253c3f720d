//! The attribute macros of athomic. Applications use them through the `athomic` crate.
//!
//! Four steps, as in `handler` below: the attribute's tokens are read by one table of keys
//! (`args`), the function by its signature (`signature`); both together are a subscription that
//! cannot be wrong (`model`), which is written out without further checks (`expand`). All mistakes
//! are gathered and reported at once (`errors`), and the user's function is always kept.

mod args;
mod checks;
mod errors;
mod expand;
mod model;
mod signature;

use proc_macro2::TokenStream;
use quote::quote;

use args::{Args, Attribute};
use errors::Errors;
use model::Subscription;
use signature::{Function, Variant};

/// Make a consumer of an `async fn`.
#[proc_macro_attribute]
pub fn subscribe_to(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Attribute::SubscribeTo, args.into(), item.into()).into()
}

/// Make a consumer of an `async fn` that sees the messages of each aggregate in their order.
#[proc_macro_attribute]
pub fn ordered_consumer(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    handler(Attribute::OrderedConsumer, args.into(), item.into()).into()
}

fn handler(attribute: Attribute, args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let function = Function::parse_leniently(attribute, item);
    let args = Args::parse(attribute, args, &mut errors);
    let mut tokens = function.tokens.clone();
    for variant in function.variants() {
        tokens.extend(registration(attribute, &args, errors.clone(), &variant));
    }
    if std::env::var_os("ATHOMIC_MACROS_DEBUG").is_some_and(|value| value == "1") {
        eprintln!("{tokens}");
    }
    tokens
}

fn registration(attribute: Attribute, args: &Args, errors: Errors, function: &Variant<'_>) -> TokenStream {
    let tokens = match Subscription::new(attribute, args, errors, function) {
        Ok(subscription) => expand::expand(&subscription),
        Err(errors) => errors.to_tokens(),
    };
    match &function.condition {
        None => tokens,
        Some(condition) => quote!(#[cfg(#condition)] const _: () = { #tokens };),
    }
}
