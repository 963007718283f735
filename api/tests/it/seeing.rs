//! Who sees what: queries, lists, search, changes, and reading one's own writes.

use api::token::Scope;
use domain::video::Visibility;
use eventlog::{Epoch, Position};
use serde_json::{Value, json};

use crate::{
    life::{Life, reach},
    platform::{Platform, code, person, test, token, user_code},
};

const VIDEO: &str =
    "query($id: ID!, $at: String) { video(id: $id, minPosition: $at) { id title status } }";

async fn sees(platform: &Platform, token: Option<&str>, life: &Life<'_>) -> bool {
    let variables = json!({"id": life.id.to_string()});
    let data = platform.data(token, VIDEO, variables.clone()).await;
    let node = "query($id: ID!) { node(id: $id) { id ... on Video { title } } }";
    let by_node = platform.data(token, node, variables).await;
    assert_eq!(data["video"].is_null(), by_node["node"].is_null());
    !data["video"].is_null()
}

async fn search(platform: &Platform, token: Option<&str>, words: &str, at: &str) -> Vec<String> {
    let query = "query($q: String!, $at: String) { search(query: $q, first: 50, minPosition: $at) {
        totalCount edges { node { id } } } }";
    let data = platform
        .data(token, query, json!({"q": words, "at": at}))
        .await;
    let ids = ids(&data["search"]);
    assert_eq!(data["search"]["totalCount"], ids.len());
    ids
}

fn ids(connection: &Value) -> Vec<String> {
    let edges = connection["edges"].as_array().expect("a connection");
    edges
        .iter()
        .map(|edge| edge["node"]["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn position(platform: &Platform, commit: u64) -> String {
    platform.log.epoch().await.unwrap().at(commit).to_string()
}

#[test]
fn visibility_decides_who_sees_lists_and_finds() {
    test(async |platform| {
        let owner = "seeing-owner";
        let (public, _) = Life::ready(platform, owner, "zebra public", Visibility::Public).await;
        let (unlisted, _) =
            Life::ready(platform, owner, "zebra unlisted", Visibility::Unlisted).await;
        let (private, commit) =
            Life::ready(platform, owner, "zebra private", Visibility::Private).await;
        reach(platform, commit).await;
        let at = position(platform, commit).await;
        let own = person(owner);
        let other = person("seeing-other");
        let write_only = token(owner, &[Scope::VideosWrite]);
        let operator = token("seeing-operator", &[Scope::Operate]);
        for (who, all) in [
            (None, false),
            (Some(&other), false),
            (Some(&write_only), false),
            (Some(&own), true),
            (Some(&operator), true),
        ] {
            let who = who.map(String::as_str);
            assert!(sees(platform, who, &public).await);
            assert!(sees(platform, who, &unlisted).await);
            assert_eq!(sees(platform, who, &private).await, all);
        }
        let public_only = [public.id.to_string()];
        assert_eq!(search(platform, None, "zebra", &at).await, public_only);
        assert_eq!(
            search(platform, Some(&other), "zebra", &at).await,
            public_only
        );
        assert_eq!(search(platform, Some(&own), "zebra", &at).await.len(), 3);

        let mine = "{ videos(mine: true, first: 50) { edges { node { id } } } }";
        assert_eq!(
            ids(&platform.data(Some(&own), mine, json!({})).await["videos"]).len(),
            3
        );
        assert_eq!(
            ids(&platform.data(Some(&other), mine, json!({})).await["videos"]).len(),
            0
        );
        assert_eq!(
            code(&platform.ask(None, mine, json!({})).await),
            "UNAUTHENTICATED"
        );
        assert_eq!(
            code(&platform.ask(Some(&write_only), mine, json!({})).await),
            "FORBIDDEN"
        );
        let all = "{ videos(first: 100) { edges { node { id visibility } } } }";
        let listed = platform.data(Some(&own), all, json!({})).await;
        assert!(ids(&listed["videos"]).contains(&public.id.to_string()));
        assert!(!ids(&listed["videos"]).contains(&private.id.to_string()));
    });
}

#[test]
fn lists_are_read_page_by_page() {
    test(async |platform| {
        let mut expected = vec![];
        let mut commit = 0;
        for number in 0..5 {
            let life = Life::begin(
                platform,
                "seeing-pages",
                &format!("page {number}"),
                Visibility::Private,
            )
            .await;
            commit = life.complete().await;
            expected.push(life.id.to_string());
        }
        expected.reverse();
        let own = person("seeing-pages");
        let query = "query($after: String, $at: String) { videos(mine: true, first: 2, after: $after, minPosition: $at) {
            edges { node { id } cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
        let at = position(platform, commit).await;
        let mut after = Value::Null;
        let mut seen = vec![];
        for page in 0..3 {
            let data = platform
                .data(Some(&own), query, json!({"after": after, "at": at}))
                .await;
            seen.extend(ids(&data["videos"]));
            let info = &data["videos"]["pageInfo"];
            assert_eq!(info["hasNextPage"], page < 2);
            after = info["endCursor"].clone();
        }
        assert_eq!(seen, expected);
        for bad in [json!("x"), json!(""), json!("AAAA")] {
            let answer = platform.ask(Some(&own), query, json!({"after": bad})).await;
            assert_eq!(code(&answer), "INVALID");
        }
        for first in ["0", "101", "-1"] {
            let query = format!("{{ videos(first: {first}) {{ pageInfo {{ hasNextPage }} }} }}");
            assert_eq!(
                code(&platform.ask(None, &query, json!({})).await),
                "INVALID",
                "{first}"
            );
        }
    });
}

#[test]
fn lists_are_ordered_and_narrowed() {
    test(async |platform| {
        let mut commit = 0;
        for title in ["b", "C", "a"] {
            let life = Life::begin(platform, "seeing-lists", title, Visibility::Private).await;
            commit = life.complete().await;
        }
        let own = person("seeing-lists");
        let query = "query($after: String, $filter: VideoFilter, $by: VideoOrder, $at: String) {
            videos(mine: true, first: 2, after: $after, filter: $filter, orderBy: $by, minPosition: $at) {
                edges { node { title } } pageInfo { endCursor } } }";
        let at = position(platform, commit).await;
        let ask = async |mut variables: Value| {
            variables["at"] = json!(at);
            platform.ask(Some(&own), query, variables).await
        };
        let titles = |answer: &Value| -> Vec<String> {
            let edges = answer["data"]["videos"]["edges"].as_array().unwrap();
            let title = |edge: &Value| edge["node"]["title"].as_str().unwrap().to_owned();
            edges.iter().map(title).collect()
        };
        let by_title = json!({"by": "TITLE"});
        let first = ask(json!({"by": by_title})).await;
        assert_eq!(titles(&first), ["a", "b"]);
        let after = &first["data"]["videos"]["pageInfo"]["endCursor"];
        let rest = ask(json!({"by": by_title, "after": after})).await;
        assert_eq!(titles(&rest), ["C"]);
        let last = ask(json!({"by": {"by": "TITLE", "direction": "DESC"}})).await;
        assert_eq!(titles(&last), ["C", "b"]);
        let none = ask(json!({"filter": {"status": ["READY"]}})).await;
        assert!(titles(&none).is_empty());
        let some =
            ask(json!({"filter": {"status": ["PROCESSING"], "visibility": "PRIVATE"}})).await;
        assert_eq!(titles(&some), ["a", "C"]);

        for bad in [
            json!({"after": after}),
            json!({"by": {"by": "VIEWS"}, "after": after}),
            json!({"filter": {"durationMs": {"from": 2, "below": 2}}}),
            json!({"filter": {"tag": "x".repeat(51)}}),
        ] {
            assert_eq!(code(&ask(bad.clone()).await), "INVALID", "{bad}");
        }
        let everybody =
            "{ videos(filter: {owner: \"seeing-lists\"}) { edges { node { title } } } }";
        let answer = platform.ask(Some(&own), everybody, json!({})).await;
        assert!(
            titles(&answer).is_empty(),
            "what is private is listed to nobody else's"
        );
        let windows = "{ hour: trending(window: HOUR) { id } day: trending(window: DAY) { id } }";
        let answer = platform.ask(None, windows, json!({})).await;
        assert_eq!(answer["errors"], Value::Null);
    });
}

#[test]
fn statistics_are_for_their_owner_and_for_analysts() {
    test(async |platform| {
        let life = Life::begin(platform, "seeing-sums", "one", Visibility::Private).await;
        let commit = life.complete().await;
        let at = position(platform, commit).await;
        let own = person("seeing-sums");
        let query = "query($owner: String, $at: String) { ownerStatistics(owner: $owner, minPosition: $at) {
            owner videos hours storageBytes views } }";
        let sums = platform.data(Some(&own), query, json!({"at": at})).await;
        let sums = &sums["ownerStatistics"];
        assert_eq!(
            (&sums["owner"], &sums["videos"]),
            (&json!("seeing-sums"), &json!(1))
        );
        assert!(sums["storageBytes"].as_i64().unwrap() > 0);

        let by_name = json!({"owner": "seeing-sums"});
        let same = platform.data(Some(&own), query, by_name.clone()).await;
        assert_eq!(&same["ownerStatistics"], sums);
        let analyst = token("seeing-analyst", &[Scope::AnalyticsRead]);
        let same = platform.data(Some(&analyst), query, by_name.clone()).await;
        assert_eq!(&same["ownerStatistics"], sums);
        let other = token("seeing-other", &[Scope::VideosRead]);
        assert_eq!(
            code(&platform.ask(Some(&other), query, by_name.clone()).await),
            "FORBIDDEN"
        );
        assert_eq!(
            code(&platform.ask(None, query, by_name).await),
            "UNAUTHENTICATED"
        );
    });
}

#[test]
fn one_reads_ones_own_writes() {
    test(async |platform| {
        let life = Life::begin(platform, "seeing-own", "before", Visibility::Private).await;
        let own = person("seeing-own");
        let update = "mutation($input: UpdateVideoInput!) { updateVideo(input: $input) {
            video { title tags visibility } position userErrors { field code } } }";
        for round in 0..5 {
            let title = format!("after {round}");
            let input =
                json!({"input": {"videoId": life.id.to_string(), "title": title, "tags": ["x"]}});
            let payload = platform.data(Some(&own), update, input).await["updateVideo"].clone();
            assert_eq!(payload["video"]["title"], title);
            assert_eq!(payload["video"]["tags"], json!(["x"]));
            let at = &payload["position"];
            let data = platform
                .data(
                    Some(&own),
                    VIDEO,
                    json!({"id": life.id.to_string(), "at": at}),
                )
                .await;
            assert_eq!(data["video"]["title"], title);
            let found = search(
                platform,
                Some(&own),
                &format!("after {round}"),
                at.as_str().unwrap(),
            )
            .await;
            assert!(found.contains(&life.id.to_string()));
        }
        let input = json!({"input": {"videoId": life.id.to_string(), "title": ""}});
        let refused = platform.data(Some(&own), update, input).await["updateVideo"].clone();
        assert_eq!(user_code(&refused), "INVALID");
        assert_eq!(refused["userErrors"][0]["field"], "title");
    });
}

#[test]
fn a_position_that_does_not_fit_is_told_apart() {
    test(async |platform| {
        let api = platform
            .another(|config| config.tuning.position_wait = std::time::Duration::from_millis(100))
            .await;
        let epoch = platform.log.epoch().await.unwrap();
        let future = epoch.at(u64::MAX >> 2).to_string();
        let foreign = Position {
            epoch: Epoch(epoch.0 ^ 1),
            commit: 1,
        };
        let id = uuid::Uuid::new_v4().to_string();
        for (at, expected) in [
            (future, "LIMIT_EXCEEDED"),
            (foreign.to_string(), "CURSOR_EXPIRED"),
            ("garbage".to_owned(), "INVALID"),
            (String::new(), "INVALID"),
        ] {
            let body = json!({"query": VIDEO, "variables": {"id": id, "at": at}});
            let (_, answer) = platform.ask_at(&api, None, body).await;
            assert_eq!(code(&answer), expected, "{at}");
            let query =
                "query($at: String) { search(query: \"x\", minPosition: $at) { totalCount } }";
            let body = json!({"query": query, "variables": {"at": at}});
            let (_, answer) = platform.ask_at(&api, None, body).await;
            assert_eq!(code(&answer), expected, "{at}");
        }
        api.stop.cancel();
    });
}

#[test]
fn only_owners_and_operators_change_a_video() {
    test(async |platform| {
        let owner = "seeing-change";
        let (private, _) = Life::ready(platform, owner, "mine", Visibility::Private).await;
        let (public, _) = Life::ready(platform, owner, "ours", Visibility::Public).await;
        let other = person("seeing-change-other");
        for (mutation, input) in [
            ("updateVideo", "UpdateVideoInput"),
            ("deleteVideo", "DeleteVideoInput"),
            ("retryProcessing", "RetryProcessingInput"),
        ] {
            let query = format!(
                "mutation($input: {input}!) {{ payload: {mutation}(input: $input) {{ video {{ id }} position userErrors {{ code }} }} }}"
            );
            for (life, expected) in [(&private, "NOT_FOUND"), (&public, "FORBIDDEN")] {
                let input = json!({"input": {"videoId": life.id.to_string()}});
                let data = platform.data(Some(&other), &query, input.clone()).await;
                assert_eq!(user_code(&data["payload"]), expected, "{mutation}");
                assert_eq!(data["payload"]["video"], Value::Null);
                let nobody = platform.ask(None, &query, input).await;
                assert_eq!(code(&nobody), "UNAUTHENTICATED");
            }
            let unknown = json!({"input": {"videoId": uuid::Uuid::new_v4().to_string()}});
            let data = platform.data(Some(&other), &query, unknown).await;
            assert_eq!(user_code(&data["payload"]), "NOT_FOUND");
        }
        let delete = "mutation($input: DeleteVideoInput!) { deleteVideo(input: $input) { video { id } position userErrors { code } } }";
        let input = json!({"input": {"videoId": private.id.to_string()}});
        let operator = token("seeing-change-operator", &[Scope::Operate]);
        let deleted =
            platform.data(Some(&operator), delete, input.clone()).await["deleteVideo"].clone();
        assert_eq!(deleted["userErrors"], json!([]));
        let own = person(owner);
        let variables = json!({"id": private.id.to_string(), "at": deleted["position"]});
        let gone = platform.data(Some(&own), VIDEO, variables).await;
        assert_eq!(gone["video"], Value::Null);
        let again = platform.data(Some(&own), delete, input).await["deleteVideo"].clone();
        assert_eq!(again["userErrors"], json!([]));
        assert_eq!(again["position"], deleted["position"]);
    });
}

#[test]
fn a_failed_video_is_processed_again() {
    test(async |platform| {
        let mut life = Life::begin(platform, "seeing-retry", "broken", Visibility::Private).await;
        life.playable().await;
        let own = person("seeing-retry");
        let retry = "mutation($input: RetryProcessingInput!) { retryProcessing(input: $input) {
            video { status playable failure { code } } position userErrors { code } } }";
        let input = json!({"input": {"videoId": life.id.to_string()}});
        let already = platform.data(Some(&own), retry, input.clone()).await;
        assert_eq!(already["retryProcessing"]["userErrors"], json!([]));
        let commit = life.fail().await;
        let at = position(platform, commit).await;
        let failed = "query($id: ID!, $at: String) { video(id: $id, minPosition: $at) { status playable playback { hls } failure { code message } } }";
        let variables = json!({"id": life.id.to_string(), "at": at});
        let video = platform.data(Some(&own), failed, variables).await["video"].clone();
        assert_eq!(
            video,
            json!({"status": "FAILED", "playable": false, "playback": null,
            "failure": {"code": "SOURCE_CORRUPT", "message": "the file is damaged"}})
        );
        let retried = platform.data(Some(&own), retry, input).await["retryProcessing"].clone();
        assert_eq!(
            retried["video"],
            json!({"status": "PROCESSING", "playable": false, "failure": null})
        );
    });
}

#[test]
fn a_video_tells_all_about_itself() {
    test(async |platform| {
        let owner = "seeing-fields";
        let (life, commit) = Life::ready(platform, owner, "fields", Visibility::Private).await;
        reach(platform, commit).await;
        let query = "query($id: ID!) { video(id: $id) { title description tags visibility status playable progress
            durationMs width height createdAt readyAt views posterUrl failure { code }
            renditions { id kind codec width height bitrateBps sizeBytes } playback { hls dash } } }";
        let data = platform
            .data(
                Some(&person(owner)),
                query,
                json!({"id": life.id.to_string()}),
            )
            .await;
        let video = &data["video"];
        assert_eq!(video["status"], "READY");
        assert_eq!(video["progress"], 1.0);
        assert_eq!(video["durationMs"], 4000);
        assert_eq!(video["width"], 320);
        assert_eq!(video["views"], 0);
        assert_eq!(video["failure"], Value::Null);
        let created = video["createdAt"].as_str().unwrap();
        time::OffsetDateTime::parse(created, &time::format_description::well_known::Rfc3339)
            .unwrap();
        assert_eq!(
            video["renditions"],
            json!([
                {"id": "240p", "kind": "VIDEO", "codec": "avc1.640028", "width": 320, "height": 240, "bitrateBps": 400_000, "sizeBytes": 1004},
                {"id": "144p", "kind": "VIDEO", "codec": "avc1.640028", "width": 192, "height": 144, "bitrateBps": 200_000, "sizeBytes": 1004},
                {"id": "audio", "kind": "AUDIO", "codec": "avc1.640028", "width": null, "height": null, "bitrateBps": 128_000, "sizeBytes": 1004},
            ])
        );
        assert!(
            video["playback"]["dash"]
                .as_str()
                .unwrap()
                .ends_with("/manifest.mpd")
        );
    });
}

#[test]
fn a_session_counts_once_and_only_for_what_it_may_play() {
    test(async |platform| {
        let owner = "seeing-views";
        let (life, _) = Life::ready(platform, owner, "viewed", Visibility::Public).await;
        let (private, commit) = Life::ready(platform, owner, "hidden", Visibility::Private).await;
        let begun = Life::begin(platform, owner, "begun", Visibility::Public).await;
        let completed = begun.complete().await;
        reach(platform, commit.max(completed)).await;
        let view = "mutation($input: RecordViewInput!) { recordView(input: $input) { position userErrors { field code } } }";
        let input =
            |id: String, session: &str| json!({"input": {"videoId": id, "sessionId": session}});
        let id = life.id.to_string();
        let mut last = Value::Null;
        for session in ["one", "one", "two"] {
            let payload =
                platform.data(None, view, input(id.clone(), session)).await["recordView"].clone();
            assert_eq!(payload["userErrors"], json!([]));
            last = payload["position"].clone();
        }
        let position: Position = last.as_str().unwrap().parse().unwrap();
        reach(platform, position.commit).await;
        let views = "query($id: ID!) { video(id: $id) { views } trending(first: 100) { id } }";
        let data = platform.data(None, views, json!({"id": id})).await;
        assert_eq!(data["video"]["views"], 2);
        assert!(
            data["trending"]
                .as_array()
                .unwrap()
                .contains(&json!({"id": id}))
        );
        for (input, expected) in [
            (input(private.id.to_string(), "one"), "NOT_FOUND"),
            (input("nothing".to_owned(), "one"), "NOT_FOUND"),
            (input(begun.id.to_string(), "one"), "CONFLICT"),
            (input(id.clone(), ""), "INVALID"),
            (input(id, &"x".repeat(129)), "INVALID"),
        ] {
            let data = platform.data(None, view, input.clone()).await;
            assert_eq!(user_code(&data["recordView"]), expected, "{input}");
        }
    });
}

#[test]
fn one_client_cannot_record_views_without_end() {
    test(async |platform| {
        let api = platform
            .another(|config| config.tuning.views_per_minute = 3)
            .await;
        let view = "mutation { recordView(input: {videoId: \"none\", sessionId: \"s\"}) { userErrors { code } } }";
        let mut codes = vec![];
        for _ in 0..4 {
            let (_, answer) = platform.ask_at(&api, None, json!({"query": view})).await;
            codes.push(user_code(&answer["data"]["recordView"]).to_owned());
        }
        assert_eq!(
            codes,
            ["NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "LIMIT_EXCEEDED"]
        );
        let (_, answer) = platform
            .ask_at(&api, Some(&person("seeing-rate")), json!({"query": view}))
            .await;
        assert_eq!(user_code(&answer["data"]["recordView"]), "NOT_FOUND");
        api.stop.cancel();
    });
}
