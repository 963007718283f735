//! The GraphQL schema as text: committed as `schema.graphql`, and compared by a test.

/// The schema in its definition language.
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new()
        .sorted_fields()
        .sorted_enum_items();
    let schema = crate::graphql::builder().finish();
    let mut text = schema.sdl_with_options(options);
    let trimmed = text.trim_end().len();
    text.truncate(trimmed);
    text.push('\n');
    text
}
