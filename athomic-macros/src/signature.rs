//! The annotated function → what the runtime needs of it: its name and the types of its arguments.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::{FnArg, GenericArgument, PatType, PathArguments, ReturnType, Safety, Signature, Type, Visibility};

use crate::args::Attribute;
use crate::errors::{Errors, mistake, mistake_at};

/// The annotated item: all its tokens, and its signature if it has one.
///
/// The body is not looked at: it may be wrong, and then the compiler says so.
pub(crate) struct Function {
    /// The item as it was written, to be given back untouched.
    pub(crate) tokens: TokenStream,
    signature: syn::Result<Signature>,
}

impl Function {
    /// Parse an item up to its body.
    pub(crate) fn parse_leniently(attribute: Attribute, tokens: TokenStream) -> Self {
        let read = |input: ParseStream| {
            let signature = read_signature(attribute, input);
            let _body: TokenStream = input.parse()?;
            signature
        };
        Self {
            signature: Parser::parse2(read, tokens.clone()),
            tokens,
        }
    }

    /// Return the signatures that arguments under `#[cfg(..)]` make possible, each with its condition.
    ///
    /// An attribute macro sees the arguments before `cfg` takes some away.
    pub(crate) fn variants(&self) -> Vec<Variant<'_>> {
        let Ok(signature) = &self.signature else {
            return vec![Variant::new(&self.signature, Vec::new(), None)];
        };
        let mut variants = vec![(Vec::new(), TokenStream::new())];
        for argument in &signature.inputs {
            variants = match condition(argument) {
                None => with_argument(variants, argument),
                Some(condition) => with_and_without(variants, argument, &condition),
            };
        }
        let variant = |(arguments, conditions): (_, TokenStream)| {
            let condition = (!conditions.is_empty()).then(|| quote!(all(#conditions)));
            Variant::new(&self.signature, arguments, condition)
        };
        variants.into_iter().map(variant).collect()
    }
}

type Unfinished<'a> = (Vec<&'a FnArg>, TokenStream);

fn with_argument<'a>(mut variants: Vec<Unfinished<'a>>, argument: &'a FnArg) -> Vec<Unfinished<'a>> {
    for (arguments, _) in &mut variants {
        arguments.push(argument);
    }
    variants
}

fn with_and_without<'a>(
    variants: Vec<Unfinished<'a>>,
    argument: &'a FnArg,
    condition: &TokenStream,
) -> Vec<Unfinished<'a>> {
    let both = |(arguments, conditions): Unfinished<'a>| {
        let with = [arguments.as_slice(), &[argument]].concat();
        let without = (arguments, quote!(#conditions not(all(#condition)),));
        [(with, quote!(#conditions all(#condition),)), without]
    };
    variants.into_iter().flat_map(both).collect()
}

/// Return what stands in an argument's `#[cfg(..)]` attributes.
fn condition(argument: &FnArg) -> Option<TokenStream> {
    let (FnArg::Typed(PatType { attrs, .. }) | FnArg::Receiver(syn::Receiver { attrs, .. })) = argument;
    let predicates: Vec<_> = attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .filter_map(|attribute| attribute.parse_args::<TokenStream>().ok())
        .collect();
    (!predicates.is_empty()).then(|| quote!(#(#predicates),*))
}

/// A function with the arguments that it has under one condition.
pub(crate) struct Variant<'a> {
    /// The predicate of a `cfg`; `None` is always.
    pub(crate) condition: Option<TokenStream>,
    signature: &'a syn::Result<Signature>,
    arguments: Vec<&'a FnArg>,
}

/// What the runtime needs of a function.
pub(crate) struct Callable<'a> {
    pub(crate) name: &'a Ident,
    /// The first argument's type.
    pub(crate) payload: &'a Type,
    /// The types of the others.
    pub(crate) extractors: Vec<&'a Type>,
    /// Where the return type begins and ends, to point at when it is none that a handler may return.
    pub(crate) result: (Span, Span),
}

impl<'a> Variant<'a> {
    fn new(
        signature: &'a syn::Result<Signature>,
        arguments: Vec<&'a FnArg>,
        condition: Option<TokenStream>,
    ) -> Self {
        Self {
            condition,
            signature,
            arguments,
        }
    }

    /// Check what a handler's signature must be, and take out what is needed of it.
    pub(crate) fn callable(&self, errors: &mut Errors) -> Option<Callable<'a>> {
        let signature = match self.signature {
            Ok(signature) => signature,
            Err(error) => {
                errors.push(error.clone());
                return None;
            }
        };
        check_qualifiers(signature, errors);
        let types: Vec<_> = self
            .arguments
            .iter()
            .filter_map(|argument| check_argument(argument, errors))
            .collect();
        if self.arguments.is_empty() {
            errors.push(mistake_at(
                signature.paren_token.span.join(),
                "a handler takes its payload as the first argument",
                "add one of the type that messages are decoded to: `message: T`",
            ));
        }
        let (payload, extractors) = types.split_first()?;
        Some(Callable {
            name: &signature.ident,
            payload,
            extractors: extractors.to_vec(),
            result: match &signature.output {
                ReturnType::Default => (signature.ident.span(), signature.ident.span()),
                ReturnType::Type(_, result) => ends(result.to_token_stream()),
            },
        })
    }
}

fn ends(tokens: TokenStream) -> (Span, Span) {
    let spans: Vec<_> = tokens.into_iter().map(|token| token.span()).collect();
    let end = |span: Option<&Span>| span.copied().unwrap_or_else(Span::call_site);
    (end(spans.first()), end(spans.last()))
}

fn read_signature(attribute: Attribute, input: ParseStream) -> syn::Result<Signature> {
    input.call(syn::Attribute::parse_outer)?;
    input.parse::<Visibility>()?;
    let item = input.fork();
    input.parse().map_err(|error| {
        let words = item
            .parse::<TokenStream>()
            .unwrap_or_default()
            .into_iter()
            .take_while(is_word);
        if words.into_iter().any(|word| word.to_string() == "fn") {
            return error;
        }
        let first = input
            .cursor()
            .token_tree()
            .map(|(token, _)| token.into_token_stream());
        mistake(
            first.unwrap_or_default(),
            format!("`#[{attribute}]` is for functions"),
            "put it on an `async fn`",
        )
    })
}

fn is_word(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_))
}

fn check_qualifiers(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        let help = match signature.constness {
            Some(_) => "write `async` in place of `const`",
            None => "add `async`",
        };
        errors.push(mistake(signature.fn_token, "handlers are `async fn`", help));
    }
    if let Safety::Unsafe(token) = signature.safety {
        let help = "remove `unsafe`; a block inside the function can say why it is sound";
        errors.push(mistake(
            token,
            "a handler cannot be `unsafe`: the runtime calls it with any message",
            help,
        ));
    }
    if let Some(abi) = &signature.abi {
        let help = "remove `extern`";
        errors.push(mistake(
            abi,
            "a handler has no ABI of its own: only the runtime calls it",
            help,
        ));
    }
    if !signature.generics.params.is_empty() {
        let help = "name the types; share code by calling a generic function from the handler";
        let wrong = "a handler cannot be generic: nobody chooses its types";
        errors.push(mistake(&signature.generics, wrong, help));
    }
}

/// Return an argument's type if a handler can have it.
fn check_argument<'a>(argument: &'a FnArg, errors: &mut Errors) -> Option<&'a Type> {
    let FnArg::Typed(argument) = argument else {
        errors.push(mistake(
            argument,
            "a handler cannot take `self`",
            "move it out of the `impl` and take what it needs as `State<S>`",
        ));
        return None;
    };
    let ty = without_group(&argument.ty);
    if borrows(ty.to_token_stream()) {
        let wrong = "a handler's arguments are its own, not borrowed";
        errors.push(mistake(ty, wrong, help_to_own(ty)));
        return None;
    }
    if let Some(token) = find_impl(ty.to_token_stream()) {
        errors.push(mistake(
            token,
            "a handler cannot be generic: nobody chooses its types",
            "name the type",
        ));
        return None;
    }
    Some(ty)
}

/// Say whether a type borrows from the caller, as far as its own tokens show.
fn borrows(tokens: TokenStream) -> bool {
    let tokens: Vec<_> = tokens.into_iter().collect();
    // What a function type borrows, it borrows for each call: it stands after `for` or in parentheses.
    if tokens.iter().any(|token| token.to_string() == "for") {
        return false;
    }
    let is = |token: Option<&TokenTree>, text: &str| token.is_some_and(|token| token.to_string() == text);
    tokens.iter().enumerate().any(|(i, token)| match token {
        TokenTree::Punct(punct) if punct.as_char() == '&' => !is(tokens.get(i + 1), "'"),
        TokenTree::Punct(punct) if punct.as_char() == '\'' => !is(tokens.get(i + 1), "static"),
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => borrows(group.stream()),
        _ => false,
    })
}

fn help_to_own(ty: &Type) -> String {
    match ty {
        Type::Reference(reference) => match reference.elem.to_token_stream().to_string().as_str() {
            "str" => "take `String`".to_owned(),
            owned => format!("take `{owned}`"),
        },
        _ => "take a type that owns its data".to_owned(),
    }
}

/// Find the `impl` of an `impl Trait`, however deep.
fn find_impl(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(word) if word == "impl" => Some(word),
        TokenTree::Group(group) => find_impl(group.stream()),
        _ => None,
    })
}

/// Look through the invisible parentheses that `macro_rules` puts around a type.
fn without_group(mut ty: &Type) -> &Type {
    while let Type::Group(group) = ty {
        ty = &group.elem;
    }
    ty
}

/// Return the last name of a type's path.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last().map(|segment| &segment.ident)
}

/// Return the `T` of a type written as `Name<T>`, with any path before it.
pub(crate) fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(argument)) if last.ident == name => Some(without_group(argument)),
        _ => None,
    }
}
