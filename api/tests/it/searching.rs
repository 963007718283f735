//! Search as clients ask it: filters, facets, highlights, suggestions, and what each is refused for.

use domain::video::Visibility;
use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{Platform, code, person, test},
};

const UPDATE: &str = "mutation($id: ID!, $description: String!, $tags: [String!]!) {
    updateVideo(input: {videoId: $id, description: $description, tags: $tags}) {
        position userErrors { message } } }";

/// Says the position of the change.
async fn describe(
    platform: &Platform,
    owner: &str,
    life: &Life<'_>,
    description: &str,
    tags: &[&str],
) -> String {
    let variables = json!({"id": life.id.to_string(), "description": description, "tags": tags});
    let data = platform.data(Some(&person(owner)), UPDATE, variables).await;
    let position = data["updateVideo"]["position"].as_str();
    position.expect("the change is accepted").to_owned()
}

fn ids(videos: &Value) -> Vec<&str> {
    let videos = videos.as_array().expect("a list");
    videos
        .iter()
        .map(|video| video["id"].as_str().unwrap())
        .collect()
}

#[test]
fn a_search_answers_with_highlights_facets_and_what_fits_the_filters() {
    test(async |platform| {
        let owner = "searching-owner";
        let (life, commit) =
            Life::ready(platform, owner, "Quokka <b>hunting</b>", Visibility::Public).await;
        reach(platform, commit).await;
        let text = "A film about quokkas & others";
        let at = describe(platform, owner, &life, text, &["Marsupial"]).await;
        let query = "query($filters: SearchFilters, $at: String) {
            search(query: \"quokka\", filters: $filters, minPosition: $at) {
                totalCount
                edges { node { id } highlights { field parts { text found } } }
                facets { tags { tag count } durations { from to count } heights { from to count } } } }";
        let ask = async |filters: Value| {
            let variables = json!({"filters": filters, "at": at});
            platform.data(None, query, variables).await["search"].clone()
        };
        let found = ask(json!({"owner": owner, "tags": ["marsupial"]})).await;
        assert_eq!(found["totalCount"], 1);
        let edge = &found["edges"][0];
        assert_eq!(edge["node"]["id"], life.id.to_string());
        let part = |text: &str, found: bool| json!({"text": text, "found": found});
        let expected = json!([
            {"field": "TITLE", "parts": [part("Quokka", true), part(" <b>hunting</b>", false)]},
            {"field": "DESCRIPTION",
             "parts": [part("A film about ", false), part("quokkas", true), part(" & others", false)]},
        ]);
        assert_eq!(edge["highlights"], expected);
        assert_eq!(
            found["facets"]["tags"],
            json!([{"tag": "marsupial", "count": 1}])
        );
        let durations = &found["facets"]["durations"];
        assert_eq!(durations[0], json!({"from": 0, "to": 240_000, "count": 1}));
        assert_eq!(
            durations[3],
            json!({"from": 3_600_000, "to": null, "count": 0})
        );
        for (filters, count) in [
            (json!({"owner": "searching-other"}), 0),
            (json!({"owner": owner, "durationMsMin": 3_600_000}), 0),
            (json!({"owner": owner, "durationMsMax": 3_600_000}), 1),
            (json!({"owner": owner, "heightMin": 100_000}), 0),
            (
                json!({"owner": owner, "createdAfter": "2000-01-01T00:00:00Z"}),
                1,
            ),
            (
                json!({"owner": owner, "createdBefore": "2000-01-01T00:00:00Z"}),
                0,
            ),
        ] {
            assert_eq!(ask(filters.clone()).await["totalCount"], count, "{filters}");
        }
    });
}

#[test]
fn what_is_typed_is_completed_to_what_the_viewer_may_find() {
    test(async |platform| {
        let owner = "searching-typist";
        let (public, _) =
            Life::ready(platform, owner, "Xylophone lessons", Visibility::Public).await;
        let (private, commit) =
            Life::ready(platform, owner, "Xylophone secrets", Visibility::Private).await;
        reach(platform, commit).await;
        let at = describe(platform, owner, &private, "", &[]).await;
        let known =
            "query($at: String) { search(query: \"xylophone\", minPosition: $at) { totalCount } }";
        platform.data(None, known, json!({"at": at})).await;
        let query = "query($prefix: String!) { suggest(prefix: $prefix) { id } }";
        let own = person(owner);
        for (prefix, viewer, count) in [
            ("xyl", None, 1),
            ("XYLO less", None, 1),
            ("xyl secr", None, 0),
            ("xyl", Some(&own), 2),
            ("xyl secr", Some(&own), 1),
        ] {
            let viewer = viewer.map(String::as_str);
            let data = platform
                .data(viewer, query, json!({"prefix": prefix}))
                .await;
            let found = ids(&data["suggest"]);
            assert_eq!(found.len(), count, "{prefix}");
            let is_public = |id: &&str| *id == public.id.to_string();
            assert!(viewer.is_some() || found.iter().all(is_public), "{prefix}");
        }
    });
}

#[test]
fn what_is_too_much_to_ask_is_refused() {
    test(async |platform| {
        let long = "x".repeat(201);
        let tags = vec!["tag"; 31];
        for (query, variables) in [
            (
                "query($q: String!) { search(query: $q) { totalCount } }",
                json!({"q": long}),
            ),
            (
                "query($q: String!) { suggest(prefix: $q) { id } }",
                json!({"q": long}),
            ),
            ("{ suggest(prefix: \"x\", first: 21) { id } }", json!({})),
            ("{ suggest(prefix: \"x\", first: 0) { id } }", json!({})),
            (
                "query($t: [String!]!) { search(query: \"x\", filters: {tags: $t}) { totalCount } }",
                json!({"t": tags}),
            ),
        ] {
            assert_eq!(
                code(&platform.ask(None, query, variables).await),
                "INVALID",
                "{query}"
            );
        }
    });
}
