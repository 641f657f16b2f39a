//! The expansion of `#[websocket_route]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, FnArg, ItemFn, LitStr, Result, Type};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let path = parse_path(attribute)?;
    let mut handler: ItemFn = syn::parse2(item)?;
    check_signature(&handler)?;
    let extractors = extractors(&handler)?;

    let name = std::mem::replace(&mut handler.sig.ident, format_ident!("handler"));
    let visibility = std::mem::replace(&mut handler.vis, syn::Visibility::Inherited);
    let docs: Vec<_> = handler.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).cloned().collect();
    // A name that no type of the user has, which it would shadow inside the handler.
    Ok(quote! {
        #(#docs)*
        #visibility fn #name<__State>() -> ::nexios::WebSocketRoute<__State>
        where
            __State: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
            #(#extractors: ::nexios::__private::FromRequestParts<__State>,)*
        {
            #handler
            ::nexios::WebSocketRoute::new(#path, handler)
        }
    })
}

fn parse_path(attribute: TokenStream) -> Result<LitStr> {
    let wanted = "expected a path: #[websocket_route(\"/chat/{room}\")]";
    if attribute.is_empty() {
        return Err(Error::new(proc_macro2::Span::call_site(), wanted));
    }
    let path: LitStr = syn::parse2(attribute).map_err(|error| Error::new(error.span(), wanted))?;
    if path.value().starts_with('/') { Ok(path) } else { Err(Error::new(path.span(), "a path begins with `/`")) }
}

fn check_signature(handler: &ItemFn) -> Result<()> {
    let signature = &handler.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "a WebSocket handler is an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        let text = "a handler with generics cannot be a route by itself: use `WebSocketRoute::new` with a concrete one";
        return Err(Error::new_spanned(&signature.generics, text));
    }
    let wanted = "the first argument of a WebSocket handler is a `WebSocket`";
    match signature.inputs.first() {
        Some(FnArg::Typed(argument)) if is_websocket(&argument.ty) => Ok(()),
        Some(argument) => Err(Error::new_spanned(argument, wanted)),
        None => Err(Error::new_spanned(&signature.ident, wanted)),
    }
}

// Compares the last segment only: the user chooses the path before it, and the name of the crate.
fn is_websocket(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "WebSocket"))
}

fn extractors(handler: &ItemFn) -> Result<Vec<Type>> {
    let arguments = handler.sig.inputs.iter().skip(1);
    arguments
        .map(|argument| match argument {
            FnArg::Typed(argument) => Ok((*argument.ty).clone()),
            FnArg::Receiver(receiver) => Err(Error::new_spanned(receiver, "a WebSocket handler has no `self`")),
        })
        .collect()
}
