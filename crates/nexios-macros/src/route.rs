//! The expansion of `#[websocket_route]`.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, FnArg, Ident, ItemFn, LitStr, Path, Result, Token, Type};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Arguments { path, nexios } = Arguments::parse(attribute)?;
    let mut handler: ItemFn = syn::parse2(item)?;
    check_signature(&handler)?;
    let extractors = extractors(&handler)?;

    // The handler keeps its name, inside of the function that has it outside: no item of the user's can have it as well, so
    // none is hidden by it, and every other name in the handler is the user's.
    let name = handler.sig.ident.clone();
    let state = unused_name("__State", &handler);
    let visibility = std::mem::replace(&mut handler.vis, syn::Visibility::Inherited);
    let (outer, inner): (Vec<_>, Vec<_>) = handler.attrs.drain(..).partition(is_of_the_route);
    handler.attrs = inner;
    Ok(quote! {
        #(#outer)*
        #visibility fn #name<#state>() -> #nexios::WebSocketRoute<#state>
        where
            #state: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
            #(#extractors: #nexios::__private::FromRequestParts<#state>,)*
        {
            #handler
            #nexios::WebSocketRoute::new(#path, #name)
        }
    })
}

/// `"/path"`, and where the crate `nexios` is to be found.
struct Arguments {
    path: LitStr,
    nexios: TokenStream,
}

impl Arguments {
    fn parse(attribute: TokenStream) -> Result<Self> {
        let wanted = "expected a path: #[websocket_route(\"/chat/{room}\")]";
        if attribute.is_empty() {
            return Err(Error::new(proc_macro2::Span::call_site(), wanted));
        }
        let parse = |input: ParseStream| -> Result<Self> {
            let path: LitStr = input.parse().map_err(|error| Error::new(error.span(), wanted))?;
            if !path.value().starts_with('/') {
                return Err(Error::new(path.span(), "a path begins with `/`"));
            }
            let mut nexios = quote!(::nexios);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            if !input.is_empty() {
                nexios = parse_crate(input)?;
                input.parse::<Option<Token![,]>>()?;
            }
            Ok(Self { path, nexios })
        };
        parse.parse2(attribute)
    }
}

/// `crate = nx` or `crate = "nx"`: a path, as it is written where the attribute stands.
fn parse_crate(input: ParseStream) -> Result<TokenStream> {
    let wanted = "expected `crate = …` with the path of the crate `nexios`";
    input.parse::<Token![crate]>().map_err(|error| Error::new(error.span(), wanted))?;
    input.parse::<Token![=]>()?;
    let path: Path = if input.peek(LitStr) {
        input.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?
    } else {
        input.call(Path::parse_mod_style)?
    };
    Ok(path.into_token_stream())
}

/// Of a handler's attributes, those that are about its name: what it documents, and that it is there at all.
fn is_of_the_route(attribute: &Attribute) -> bool {
    ["doc", "cfg", "deprecated"].iter().any(|name| attribute.path().is_ident(name))
}

/// A name that stands nowhere in the handler: a type parameter hides whatever else has its name.
fn unused_name(wanted: &str, handler: &ItemFn) -> Ident {
    let mut names = Vec::new();
    collect_names(handler.to_token_stream(), &mut names);
    let mut name = wanted.to_owned();
    while names.contains(&name) {
        name.push('_');
    }
    format_ident!("{name}")
}

fn collect_names(tokens: TokenStream, names: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => names.push(name.to_string()),
            TokenTree::Group(group) => collect_names(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
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
    if let Some(argument) = signature.inputs.iter().find(|argument| is_impl_trait(argument)) {
        let text = "a handler with `impl Trait` cannot be a route by itself: name the type";
        return Err(Error::new_spanned(argument, text));
    }
    match signature.inputs.first() {
        Some(FnArg::Typed(argument)) if is_websocket(&argument.ty) => Ok(()),
        Some(argument) => Err(Error::new_spanned(argument, wanted)),
        None => Err(Error::new_spanned(&signature.ident, wanted)),
    }
}

fn is_impl_trait(argument: &FnArg) -> bool {
    matches!(argument, FnArg::Typed(argument) if matches!(*argument.ty, Type::ImplTrait(_)))
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
