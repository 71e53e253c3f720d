//! Subscription → tokens, without checks.
//!
//! For `#[subscribe_to(topic = "payments.v1", group_id = "billing")]` on
//! `async fn on_paid(payment: Paid, meta: Meta) -> Result<(), E>` the expansion is the function as it
//! was written, and
//!
//! ```text
//! const _: () = {
//!     use ::athomic::__private as __athomic;
//!     struct __Handler {}
//!     impl __athomic::Handler for __Handler {
//!         type Payload = Paid;
//!         async fn call<'a>(&'a self, payload: Self::Payload, context: &'a __athomic::MessageContext<'a>)
//!             -> __athomic::Result<__athomic::Outcome, __athomic::ExtractError>
//!         {
//!             __athomic::Ok(__athomic::IntoOutcome::into_outcome(
//!                 __athomic::assert_send(
//!                     on_paid(payload, <Meta as __athomic::FromMessage>::from_message(context)?)
//!                 ).await
//!             ))
//!         }
//!         fn check(&self, states: &__athomic::StateMap) -> __athomic::Result<(), __athomic::MissingState> {
//!             <Meta as __athomic::FromMessage>::check(states)?;
//!             __athomic::Ok(())
//!         }
//!     }
//!     const __TOPICS: __athomic::Topics = &["payments.v1"];
//!     const __REGISTRATION: __athomic::HandlerRegistration = __athomic::HandlerRegistration {
//!         handler_id: __athomic::concat!(__athomic::module_path!(), "::", "on_paid"),
//!         location: __athomic::SourceLocation { file: __athomic::file!(), line: __athomic::line!() },
//!         kind: __athomic::HandlerKind::Subscribed,
//!         options: __athomic::SubscriptionOptions {
//!             group_id: __athomic::Some("billing"),
//!             ..__athomic::SubscriptionOptions::new(__TOPICS)
//!         },
//!         target_type: "Paid",
//!         processor: || __athomic::MessageProcessor::single(__Handler {}),
//!     };
//!     __athomic::submit! { __REGISTRATION }
//! };
//! ```
//!
//! Names: `__athomic`, `__Handler`, `__TOPICS` and `__REGISTRATION` are items within the block and
//! hide nothing that a user would write; variables are hygienic, so a handler may be called
//! `payload` or `context`. `__Handler {}` has braces to leave the names of values alone.
//!
//! Spans: each type stands there with the tokens that the user wrote, and what is said about the
//! result with those of the return type, so that the compiler's complaints land on them.

use std::time::Duration;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{LitStr, Type};

use crate::args::{Args, Idempotency, Policy, Topic, variant};
use crate::checks;
use crate::model::{Mode, Subscription};

/// Write the registration of a handler.
pub(crate) fn expand(subscription: &Subscription<'_>) -> TokenStream {
    let athomic = match &subscription.args.crate_path {
        Some(path) => path.to_token_stream(),
        None => quote!(::athomic),
    };
    let parts = [
        handler(subscription),
        ordered(subscription),
        type_checks(subscription),
        topics(subscription.args),
        registration(subscription),
    ];
    quote_spanned! {Span::mixed_site()=>
        const _: () = {
            use #athomic::__private as __athomic;
            struct __Handler {}
            #(#parts)*
            __athomic::submit! { __REGISTRATION }
        };
    }
}

/// The names that differ between handlers of single messages and of batches.
struct Names {
    handler: Ident,
    item: Ident,
    context: Ident,
    outcome: Ident,
    into_outcome: Ident,
    into_outcome_method: Ident,
    classified: Ident,
    extractor: Ident,
    extract: Ident,
}

impl Names {
    fn new(mode: &Mode<'_>) -> Self {
        let choose = |single, batch| {
            let name = if matches!(mode, Mode::Batch { .. }) {
                batch
            } else {
                single
            };
            Ident::new(name, Span::mixed_site())
        };
        Self {
            handler: choose("Handler", "BatchHandler"),
            item: choose("Payload", "Item"),
            context: choose("MessageContext", "BatchContext"),
            outcome: choose("Outcome", "BatchOutcome"),
            into_outcome: choose("IntoOutcome", "IntoBatchOutcome"),
            into_outcome_method: choose("into_outcome", "into_batch_outcome"),
            classified: choose("classified", "classified_batch"),
            extractor: choose("FromMessage", "FromBatch"),
            extract: choose("from_message", "from_batch"),
        }
    }
}

fn handler(subscription: &Subscription<'_>) -> TokenStream {
    let names = Names::new(&subscription.mode);
    let Names {
        handler,
        item,
        context,
        outcome,
        extractor,
        ..
    } = &names;
    let item_type = subscription.item();
    let argument = match subscription.mode {
        Mode::Batch { .. } => subscription.function.payload.to_token_stream(),
        Mode::Single | Mode::Ordered { .. } => quote!(Self::Payload),
    };
    let call = call(subscription, &names);
    let idempotency_key = idempotency_key(subscription, item);
    let for_ordered = matches!(subscription.mode, Mode::Ordered { .. })
        .then(|| quote_spanned!(Span::mixed_site()=> let states = &states.for_ordered();));
    let checks = subscription
        .function
        .extractors
        .iter()
        .map(|ty| quote_spanned!(Span::mixed_site()=> <#ty as __athomic::#extractor>::check(states)?;));
    quote_spanned! {Span::mixed_site()=>
        impl __athomic::#handler for __Handler {
            type #item = #item_type;
            async fn call<'a>(&'a self, payload: #argument, context: &'a __athomic::#context<'a>)
                -> __athomic::Result<__athomic::#outcome, __athomic::ExtractError>
            {
                #call
            }
            #idempotency_key
            fn check(&self, states: &__athomic::StateMap) -> __athomic::Result<(), __athomic::MissingState> {
                #for_ordered
                #(#checks)*
                __athomic::Ok(())
            }
        }
    }
}

/// Name a message by the resolver. Its type is checked where it is made a constant, on the user's own path.
fn idempotency_key(subscription: &Subscription<'_>, item: &Ident) -> Option<TokenStream> {
    let resolver = subscription.args.idempotency_key_resolver.as_ref()?;
    let ty = subscription.target();
    Some(quote_spanned! {Span::mixed_site()=>
        fn idempotency_key(&self, payload: &Self::#item) -> __athomic::Option<__athomic::String> {
            const __RESOLVER: fn(&#ty) -> __athomic::String = #resolver;
            __athomic::Some(__RESOLVER(payload))
        }
    })
}

/// Call the user's function and turn its result into an outcome.
fn call(subscription: &Subscription<'_>, names: &Names) -> TokenStream {
    let Names {
        into_outcome,
        into_outcome_method,
        classified,
        extractor,
        extract,
        ..
    } = names;
    let function = subscription.function.name;
    let extracted =
        subscription.function.extractors.iter().map(
            |ty| quote_spanned!(Span::mixed_site()=> <#ty as __athomic::#extractor>::#extract(context)?),
        );
    let at_name = Span::mixed_site().located_at(function.span());
    let called = quote_spanned!(at_name=> #function(payload #(, #extracted)*));
    let (start, end) = subscription.function.result;
    let start = Span::mixed_site().located_at(start);
    let end = Span::mixed_site().located_at(end);
    let into = match subscription.args.classify {
        Some(_) => quote!(__athomic::#classified),
        None => quote!(__athomic::#into_outcome::#into_outcome_method),
    };
    let into = from_to(into, start, end);
    let classify = subscription.args.classify.iter();
    let sent = quote_spanned!(start=> __athomic::assert_send(#called));
    let result = quote_spanned!(end=> #sent.await);
    quote_spanned!(start=> __athomic::Ok(#into(#result #(, #classify)*)))
}

/// Let the last token stand at `end` and all others at `start`, so that together they span a type.
fn from_to(tokens: TokenStream, start: Span, end: Span) -> TokenStream {
    let mut tokens: Vec<_> = tokens.into_iter().collect();
    for token in &mut tokens {
        token.set_span(start);
    }
    if let Some(last) = tokens.last_mut() {
        last.set_span(end);
    }
    tokens.into_iter().collect()
}

/// Read the two fields that order messages, each at the literal that names it.
fn ordered(subscription: &Subscription<'_>) -> TokenStream {
    let Mode::Ordered { key, sequence } = subscription.mode else {
        return TokenStream::new();
    };
    let (key, sequence) = (
        read_field(key, "AggregateKey", "aggregate_key"),
        read_field(sequence, "SequenceId", "sequence_id"),
    );
    quote_spanned! {Span::mixed_site()=>
        impl __athomic::OrderedHandler for __Handler {
            fn aggregate_key<'a>(&self, payload: &'a Self::Payload) -> __athomic::Cow<'a, str> {
                #key
            }
            fn sequence_id(&self, payload: &Self::Payload) -> __athomic::u64 {
                #sequence
            }
        }
    }
}

fn read_field(path: &LitStr, name: &str, method: &str) -> TokenStream {
    let span = Span::mixed_site().located_at(path.span());
    let (name, method) = (Ident::new(name, span), Ident::new(method, span));
    let path = path.value();
    let parts = checks::field_path(&path).expect("it was checked when it was read");
    let members = parts.iter().map(|part| member(part, span));
    quote_spanned!(span=> __athomic::#name::#method(&payload #(. #members)*))
}

fn member(part: &str, span: Span) -> TokenStream {
    if let Ok(index) = part.parse() {
        return syn::Index { index, span }.to_token_stream();
    }
    match syn::parse_str::<Ident>(part) {
        Ok(_) => Ident::new(part, span).to_token_stream(),
        Err(_) => Ident::new_raw(part, span).to_token_stream(),
    }
}

/// What only the compiler can check: that `target_type` is the argument's, and that the argument can be read in the
/// format that `codec` names.
fn type_checks(subscription: &Subscription<'_>) -> TokenStream {
    let args = subscription.args;
    let item = subscription.item();
    let target = args.target_type.as_ref().map(
        |target| quote_spanned!(target.span()=> const _: () = __athomic::assert_target::<#target, #item>();),
    );
    let assertion = match args.codec {
        Some("avro") => Some("assert_avro"),
        Some("protobuf") => Some("assert_protobuf"),
        _ => None,
    };
    let format = assertion.map(|name| {
        let name = Ident::new(name, Span::mixed_site());
        quote_spanned!(item.span()=> const _: () = __athomic::#name::<#item>();)
    });
    let checks = target.into_iter().chain(format);
    quote!(#(#checks)*)
}

fn topics(args: &Args) -> TokenStream {
    let topics = args.topics.iter().map(|topic| match topic {
        Topic::Name(name) => name.to_token_stream(),
        Topic::Constant(path) => {
            let span = Span::mixed_site().located_at(path.span());
            quote_spanned!(span=> __athomic::assert_topic(#path))
        }
    });
    let list = quote!(&[#(#topics),*]);
    let has_constants = args
        .topics
        .iter()
        .any(|topic| matches!(topic, Topic::Constant(_)));
    let list = if has_constants && args.topics.len() > 1 {
        quote_spanned!(Span::mixed_site()=> __athomic::assert_distinct(#list))
    } else {
        list
    };
    quote_spanned!(Span::mixed_site()=> const __TOPICS: __athomic::Topics = #list;)
}

fn registration(subscription: &Subscription<'_>) -> TokenStream {
    let args = subscription.args;
    let handler_id = match &args.handler_id {
        Some(id) => id.to_token_stream(),
        None => {
            let name = subscription.function.name.unraw().to_string();
            quote_spanned!(Span::mixed_site()=> __athomic::concat!(__athomic::module_path!(), "::", #name))
        }
    };
    let kind = match subscription.mode {
        Mode::Single | Mode::Batch { .. } => quote!(Subscribed),
        Mode::Ordered { key, sequence } => {
            quote!(Ordered { aggregate_key_field: #key, sequence_id_field: #sequence })
        }
    };
    let processor = match subscription.mode {
        Mode::Single => quote!(single),
        Mode::Ordered { .. } => quote!(ordered),
        Mode::Batch { .. } => quote!(batch),
    };
    let options = options(args);
    let target_type = type_text(args.target_type.as_ref().unwrap_or_else(|| subscription.target()));
    quote_spanned! {Span::mixed_site()=>
        const __REGISTRATION: __athomic::HandlerRegistration = __athomic::HandlerRegistration {
            handler_id: #handler_id,
            location: __athomic::SourceLocation { file: __athomic::file!(), line: __athomic::line!() },
            kind: __athomic::HandlerKind::#kind,
            options: __athomic::SubscriptionOptions {
                #(#options,)*
                ..__athomic::SubscriptionOptions::new(__TOPICS)
            },
            target_type: #target_type,
            processor: || __athomic::MessageProcessor::#processor(__Handler {}),
        };
    }
}

/// The fields that differ from what `SubscriptionOptions::new` sets.
fn options(args: &Args) -> Vec<TokenStream> {
    let text = |name, value: &Option<LitStr>| value.as_ref().map(|value| some(name, value));
    let number = |name, value: &Option<u64>| {
        value
            .as_ref()
            .map(|number| some(name, Literal::u64_unsuffixed(*number)))
    };
    let priority = args.priority.as_ref().map(|word| {
        let variant = format_ident!("{}", word);
        if word == "Weighted" {
            return quote!(priority: __athomic::Priorities::Weighted);
        }
        quote!(priority: __athomic::Priorities::Only(__athomic::Priority::#variant))
    });
    let ordering = args.ordering.as_ref().map(|word| {
        let variant = format_ident!("{}", word);
        some("ordering", quote!(__athomic::Ordering::#variant))
    });
    let options = [
        text("group_id", &args.group_id),
        priority,
        number("concurrency", &args.concurrency),
        ordering,
        number("batch_size", &args.batch_size),
        number("max_batch_linger_ms", &args.max_batch_linger_ms),
        number("fetch_timeout_ms", &args.fetch_timeout_ms),
        number("fetch_max_linger_ms", &args.fetch_max_linger_ms),
        number("fetch_max_bytes", &args.fetch_max_bytes),
        number("fetch_size", &args.fetch_size),
        text("connection_name", &args.connection_name),
        args.idempotency
            .as_ref()
            .map(|options| some("idempotency", idempotency(options))),
        args.idempotency_key_resolver
            .as_ref()
            .map(|_| quote!(has_idempotency_key_resolver: true)),
        args.retry.as_deref().map(retry),
        args.circuit_breaker.as_deref().map(circuit_breaker),
        args.codec.map(|word| {
            let variant = format_ident!(
                "{}",
                match word {
                    "msgpack" => "MessagePack",
                    "cbor" => "Cbor",
                    "avro" => "Avro",
                    "protobuf" => "Protobuf",
                    "raw" => "Raw",
                    _ => "Json",
                }
            );
            some("codec", quote!(__athomic::Format::#variant))
        }),
        args.encrypted.map(|encrypted| quote!(encrypted: #encrypted)),
        args.enable_lineage
            .map(|enabled| quote!(enable_lineage: #enabled)),
        (!args.policies.is_empty()).then(|| policies(&args.policies)),
    ];
    options.into_iter().flatten().collect()
}

fn some(name: &str, value: impl ToTokens) -> TokenStream {
    let name = Ident::new(name, Span::mixed_site());
    quote!(#name: __athomic::Some(#value))
}

fn idempotency(options: &Idempotency) -> TokenStream {
    let enabled = optional(options.enabled);
    let ttl = optional(options.ttl.map(duration_tokens));
    let lock_timeout = optional(options.lock_timeout.map(duration_tokens));
    quote! {
        __athomic::IdempotencyOptions { enabled: #enabled, ttl: #ttl, lock_timeout: #lock_timeout }
    }
}

fn retry(fields: &[(&'static str, TokenStream)]) -> TokenStream {
    let fields = fields.iter().map(|(name, value)| some(name, value));
    quote!(retry: __athomic::RetryOptions { #(#fields,)* ..__athomic::RetryOptions::new() })
}

fn circuit_breaker(fields: &[(&'static str, TokenStream)]) -> TokenStream {
    let fields = fields.iter().map(|(name, value)| some(name, value));
    let options =
        quote!(__athomic::CircuitBreakerOptions { #(#fields,)* ..__athomic::CircuitBreakerOptions::new() });
    some("circuit_breaker", options)
}

/// What happens when order is in danger.
fn policies(policies: &[(&'static str, Policy)]) -> TokenStream {
    let fields = policies.iter().map(|(name, value)| {
        let value = match *value {
            Policy::Number(number) if *name == "first_sequence" => {
                let number = Literal::u64_unsuffixed(number);
                quote!(__athomic::FirstSequenceRule::Exact(#number))
            }
            Policy::Number(number) => Literal::u64_unsuffixed(number).to_token_stream(),
            Policy::Flag(flag) => flag.to_token_stream(),
            Policy::Duration(duration) => duration_tokens(duration),
            Policy::Word(word) => variant(name, word),
        };
        some(name, value)
    });
    quote!(policies: __athomic::OrderingOptions { #(#fields,)* ..__athomic::OrderingOptions::new() })
}

fn optional(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(__athomic::Some(#value)),
        None => quote!(__athomic::None),
    }
}

fn duration_tokens(duration: Duration) -> TokenStream {
    let millis = u64::try_from(duration.as_millis()).expect("it was read as milliseconds");
    let millis = Literal::u64_unsuffixed(millis);
    quote!(__athomic::Duration::from_millis(#millis))
}

/// Write a type as in the source, without the spaces that tokens are printed with.
fn type_text(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    let tight = [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        ("> ", ">"),
        (" ,", ","),
        ("& ", "&"),
    ];
    tight
        .iter()
        .fold(text, |text, (loose, tight)| text.replace(loose, tight))
}
