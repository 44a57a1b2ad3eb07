//! Derives `Shareable` for a value: describes the offsets and types of its fields.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DataEnum, DeriveInput, Error, Fields, Ident, Index, Member, Result, Type, parse_quote};

/// Returns the implementation for a `repr(C)` struct: the offset and type of each field, and the size.
pub(crate) fn structure(input: &DeriveInput, fields: &Fields) -> TokenStream {
    let fields_of = fields.iter().enumerate().map(|(index, field)| {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(index)),
        };
        let described = describe(&field.ty);
        quote! {
            layout.at(::core::mem::offset_of!(Self, #member));
            #described
            layout.push(",");
        }
    });
    let body = quote! {
        layout.push("{");
        #(#fields_of)*
        layout.push("}");
        layout.number(::core::mem::size_of::<Self>() as u64);
    };
    implement(input, fields.iter().map(|field| &field.ty), &body)
}

/// Returns the implementation for a `repr(transparent)` struct: the description of its field.
pub(crate) fn transparent(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let mut all = fields.iter();
    let (Some(field), None) = (all.next(), all.next()) else {
        return Err(Error::new_spanned(
            &input.ident,
            "a `repr(transparent)` struct must have exactly one field; use `#[repr(C)]` for several",
        ));
    };
    Ok(implement(input, [&field.ty], &describe(&field.ty)))
}

/// Returns the implementation for an enum without fields: its integer type, and its valid values.
pub(crate) fn choice(input: &DeriveInput, data: &DataEnum, integer: &Ident) -> Result<TokenStream> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "an enum without variants has no values; add a variant",
        ));
    }
    if let Some(variant) =
        data.variants.iter().find(|variant| !matches!(variant.fields, Fields::Unit))
    {
        return Err(Error::new_spanned(
            variant,
            "a variant of a shareable enum has no fields; use a struct with the fields, and an enum \
             that says which of them are valid",
        ));
    }
    let (integer, variants) = (integer.to_string(), data.variants.iter().map(|one| &one.ident));
    let body = quote! {
        layout.choice(#integer, &mut [#(Self::#variants as i128),*]);
    };
    Ok(implement(input, [], &body))
}

/// Returns the description of a field's type. The span makes the compiler point to the field if its type is
/// not `Shareable`.
fn describe(ty: &Type) -> TokenStream {
    quote_spanned! { ty.span() => <#ty as ::sharemap::Shareable>::describe(layout); }
}

/// Returns the implementation of `Shareable`. The `types` of the fields become bounds if the type is
/// generic.
fn implement<'a>(
    input: &DeriveInput,
    types: impl IntoIterator<Item = &'a Type>,
    body: &TokenStream,
) -> TokenStream {
    let name = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let bounds = generics.make_where_clause();
        for ty in types {
            bounds.predicates.push(parse_quote!(#ty: ::sharemap::Shareable));
        }
    }
    let (parameters, arguments, bounds) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::sharemap::Shareable for #name #arguments #bounds {
            fn describe(layout: &mut ::sharemap::__private::Layout) {
                #body
            }
        }
    }
}
