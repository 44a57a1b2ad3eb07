//! Derives `SharedType` and the handle for a struct of locks.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Error, Field, Fields, Result};

/// The methods of `Shared`. They would hide methods of these names of the handle, which `Shared` derefs to.
const TAKEN: [&str; 4] = ["cancel", "file", "is_linked", "resume"];

/// Returns the implementation for a struct of locks. Its layout is that of a tuple of its fields.
pub(crate) fn structure(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let Fields::Named(fields) = fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "the fields of a struct of locks must have names, which the methods of its handle get; \
             name them, or derive `Shareable` for a value that a lock guards",
        ));
    };
    if fields.named.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "a struct of locks must have at least one field",
        ));
    }
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a struct of locks cannot be generic, because an object has one type; write the types out",
        ));
    }
    for name in fields.named.iter().filter_map(|field| field.ident.as_ref()) {
        if TAKEN.contains(&name.unraw().to_string().as_str()) {
            return Err(Error::new_spanned(
                name,
                format!(
                    "`Shared` has a method `{name}`, which would be called instead; give the field \
                     another name"
                ),
            ));
        }
    }
    let name = &input.ident;
    let handle = format_ident!("{name}Handle");
    let visibility = &input.vis;
    let names: Vec<_> = fields.named.iter().map(|field| &field.ident).collect();
    let types: Vec<_> = fields.named.iter().map(anchored).collect();
    let handles: Vec<_> = fields.named.iter().map(handle_of).collect();
    let methods = fields.named.iter().map(method);
    let about = format!("The locks of a shared [`{name}`], with a method for each of its fields.");
    Ok(quote! {
        #[doc = #about]
        #[derive(::core::fmt::Debug)]
        #visibility struct #handle {
            #(#names: #handles,)*
        }

        #[allow(dead_code, reason = "another program may use the lock")]
        impl #handle {
            #(#methods)*
        }

        #[automatically_derived]
        impl ::sharemap::SharedType for #name {
            type Handle = #handle;

            const ROOM: ::sharemap::__private::LayoutSize =
                ::sharemap::__private::LayoutSize::NONE #( .then(#types::ROOM) )*;

            fn describe(layout: &mut ::sharemap::__private::Layout) {
                layout.push("(");
                #(
                    #types::describe(layout);
                    layout.push(",");
                )*
                layout.push(")");
            }

            fn fill(&self, blank: &mut ::sharemap::__private::LayoutWriter<'_>) -> ::sharemap::Result<()> {
                #( ::sharemap::SharedType::fill(&self.#names, blank)?; )*
                ::core::result::Result::Ok(())
            }

            fn handle(found: &mut ::sharemap::__private::LayoutReader) -> ::sharemap::Result<#handle> {
                ::core::result::Result::Ok(#handle {
                    #( #names: #types::handle(found)?, )*
                })
            }
        }
    })
}

/// Returns the type of a field as a `SharedType`. The span makes the compiler point to the field if its type
/// is none.
fn anchored(field: &Field) -> TokenStream {
    let ty = &field.ty;
    quote_spanned! { ty.span() => <#ty as ::sharemap::SharedType> }
}

/// Returns the handle type of a field.
fn handle_of(field: &Field) -> TokenStream {
    let ty = anchored(field);
    quote_spanned! { field.ty.span() => #ty::Handle }
}

/// Returns the method of the handle for a field, with the field's documentation and visibility.
fn method(field: &Field) -> TokenStream {
    let (name, visibility, handle) = (&field.ident, &field.vis, handle_of(field));
    let mut docs: Vec<Attribute> = Vec::new();
    docs.extend(field.attrs.iter().filter(|one| one.path().is_ident("doc")).cloned());
    if docs.is_empty() {
        docs.push(syn::parse_quote!(#[doc = "Returns the handle of the field of this name."]));
    }
    quote! {
        #(#docs)*
        #visibility fn #name(&self) -> &#handle {
            &self.#name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::{Data, parse_quote};

    fn expand(input: &DeriveInput) -> Result<TokenStream> {
        let Data::Struct(data) = &input.data else { panic!("not a struct") };
        structure(input, &data.fields)
    }

    #[test]
    fn names_of_methods_of_shared_are_refused() {
        let taken: [DeriveInput; 5] = [
            parse_quote! { struct State { jobs: Mutex<u32>, cancel: Event } },
            parse_quote! { struct State { resume: Event } },
            parse_quote! { struct State { is_linked: Event } },
            parse_quote! { struct State { file: Mutex<u32> } },
            parse_quote! { struct State { r#file: Mutex<u32> } },
        ];
        for input in taken {
            let error = expand(&input).unwrap_err().to_string();
            assert!(
                error.contains("`Shared` has a method") && error.contains("another name"),
                "{error}"
            );
        }
        let free =
            parse_quote! { struct State { cancelled: Event, linked: Event, files: Mutex<u32> } };
        assert!(expand(&free).is_ok());
    }
}
