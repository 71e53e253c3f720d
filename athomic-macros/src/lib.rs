//! The attribute macros of athomic. Applications use them through the `athomic` crate.
//!
//! Four steps, as in `handler` below: the attribute's tokens are read by one table of keys
//! (`args`), the function by its signature (`signature`); both together are a subscription that
//! cannot be wrong (`model`), which is written out without further checks (`expand`). All mistakes
//! are gathered and reported at once (`errors`), and the user's function is always kept.

mod args;
mod checks;
#[cfg(test)]
mod docs;
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
///
/// The function is called for each message of its topics, or for batches of them. It stays as it
/// is: it can be called, tested and documented like any other.
///
/// ```
/// use athomic::prelude::*;
///
/// #[derive(Deserialize)]
/// struct UserCreated {
///     email: String,
/// }
///
/// # #[derive(Clone)]
/// # struct Mailer;
/// # impl Mailer { async fn welcome(&self, email: &str) -> std::io::Result<()> { Ok(()) } }
/// #[subscribe_to(topic = "user.events.v1", group_id = "welcome-mails")]
/// async fn on_user_created(user: UserCreated, State(mailer): State<Mailer>) -> Result<(), HandlerError> {
///     mailer.welcome(&user.email).await?;
///     Ok(())
/// }
///
/// # struct Tracking;
/// # impl<'de> Deserialize<'de> for Tracking {
/// #     fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> { Ok(Tracking) }
/// # }
/// #[subscribe_to(topic = ["tracking.v1", "tracking.v2"], batch_size = 100, max_batch_linger_ms = 5000)]
/// async fn on_tracking(events: Vec<Tracking>) {
///     println!("{} events", events.len());
/// }
/// ```
///
/// # The function
/// - It is a free `async fn` without type parameters, in any module or function. In an `impl` there is
///   no place for what the attribute adds.
/// - The first argument is the payload: a type that implements `serde::Deserialize`, or a `Message` of
///   one. With `batch_size` it is a `Vec` of these, written as `Vec<T>`.
/// - The others are extractors: `Meta`, `Headers`, `Key<K>`, `State<S>`, `RawMessage`, `Publisher` and
///   whatever else implements `FromMessage`; for batches, what implements `FromBatch`. They may stand
///   under `#[cfg(..)]`.
/// - It returns `()`, `Result<(), E>`, `Outcome` or `Result<Outcome, E>`, where `E` is any error; a batch
///   handler also one of these for each message.
/// - Its future is `Send`.
///
/// # Parameters
#[doc = include_str!("../docs/subscribe_to.md")]
///
/// # Ids
/// A function can carry several attributes; give each a `handler_id` of its own. Functions of one name
/// in different functions of one module share the default id too. Two handlers with one id are refused
/// at start-up, with both places.
///
/// # Expansion
/// One `const _` block after the function, with the registration. `ATHOMIC_MACROS_DEBUG=1` in the
/// environment of the build prints it.
#[proc_macro_attribute]
pub fn subscribe_to(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Attribute::SubscribeTo, args.into(), item.into()).into()
}

/// Make a consumer of an `async fn` that sees the messages of each aggregate in their order.
///
/// Two fields of the payload say what that order is: one names the aggregate, the other numbers its
/// messages. Both may be paths of fields (`"customer.id"`). They are checked when compiling: the key is
/// an `AggregateKey` (a string, an integer, a type of your own), the number a `SequenceId` (`u8` to
/// `u64`, or a type of your own).
///
/// ```
/// use athomic::prelude::*;
///
/// #[derive(Deserialize)]
/// struct OrderEvent {
///     order_id: String,
///     event_sequence: u64,
/// }
///
/// #[ordered_consumer(
///     topic = "order.events.v1",
///     group_id = "order-status",
///     aggregate_key_field = "order_id",
///     sequence_id_field = "event_sequence"
/// )]
/// async fn on_order_event(event: OrderEvent) {
///     println!("event {} of order {}", event.event_sequence, event.order_id);
/// }
/// ```
///
/// All else is as for [`macro@subscribe_to`]; there are no ordered batches. A handler may also take a
/// `FencingToken`, which rises each time an aggregate changes hands: with `WHERE fence <= :token`, what
/// it writes is guarded against a process that was stalled and does not know it yet.
///
/// What happens when order is in danger is said by the parameters from `first_sequence` on. They have the
/// names of the settings below `integration.messaging.ordering`, without units, and win over them; an
/// entry of `handler_tuning` wins over both.
///
/// # Parameters
#[doc = include_str!("../docs/ordered_consumer.md")]
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
