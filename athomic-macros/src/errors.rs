//! Mistakes: gathered from all steps, reported together, each on the user's own token.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Make an error that spans `tokens`, says what is wrong and how to mend it.
pub(crate) fn mistake(tokens: impl ToTokens, wrong: impl Display, help: impl Display) -> syn::Error {
    syn::Error::new_spanned(tokens, message(wrong, help))
}

/// Make an error at a place that is no single token tree.
pub(crate) fn mistake_at(span: Span, wrong: impl Display, help: impl Display) -> syn::Error {
    syn::Error::new(span, message(wrong, help))
}

fn message(wrong: impl Display, help: impl Display) -> String {
    format!("{wrong}\nhelp: {help}")
}

/// All mistakes found so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors {
    found: Option<syn::Error>,
}

impl Errors {
    /// Add one, or several that were combined.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.found {
            Some(found) => found.combine(error),
            None => self.found = Some(error),
        }
    }

    /// Take a result apart: the value, or `None` and one more mistake.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Return `value` if there are no mistakes.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        match self.found {
            None => Ok(value),
            Some(_) => Err(self),
        }
    }

    /// Return all mistakes as one error.
    pub(crate) fn into_result(self) -> syn::Result<()> {
        self.found.map_or(Ok(()), Err)
    }

    /// Turn them into the tokens that make the compiler report them.
    pub(crate) fn to_tokens(&self) -> TokenStream {
        match &self.found {
            Some(found) => found.to_compile_error(),
            // Invariant: a handler is registered or refused aloud.
            None => {
                syn::Error::new(Span::call_site(), "this handler cannot be registered").to_compile_error()
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn messages(&self) -> Vec<String> {
        let all = |error: &syn::Error| error.clone().into_iter().map(|error| error.to_string()).collect();
        self.found.as_ref().map(all).unwrap_or_default()
    }
}
