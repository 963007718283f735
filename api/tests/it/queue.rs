//! What operators see of the work: the conductor's queues, and who tried what.

use api::token::Scope;
use domain::video::Visibility;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    life::{Life, reach},
    platform::{Platform, code, person, test, token},
};

/// The tables as the conductor makes them.
const TABLES: [&str; 2] = [
    include_str!("../../../migrations/conductor/0001_tables.sql"),
    include_str!("../../../migrations/conductor/0002_queues.sql"),
];

/// And as it fills them.
const SHOWN: &str = "
    insert into queues (shown_ms, tasks, workers, slots, slots_taken, running)
    values (1700000000000, 7, 1, 2, 1, 1);
    insert into queue_tasks (place, job, video, task, kind, priority, playable, memory_mib, since_ms)
    values
        (1, gen_random_uuid(), gen_random_uuid(), 'encode-0001', 'encode', 1, true, 300, 1700000000000),
        (0, gen_random_uuid(), gen_random_uuid(), 'probe', 'probe', 0, false, 80, 1700000000000);
    insert into queue_workers
        (name, version, kinds, slots, running, memory_mib, memory_used_mib, first_ms, last_ms)
    values ('worker-1', '1.2', '{probe}', 2, 1, 4000, 300, 1700000000000, 1700000001000);
    insert into queue_running
        (job, video, task, kind, attempt, worker, progress_permille, since_ms, lease_until_ms)
    values (gen_random_uuid(), gen_random_uuid(), 'audio', 'audio', 2, 'worker-1', 250,
        1700000000000, 1700000010000);
";

const QUEUE: &str = "{ queue { at tasksTotal workersTotal runningTotal slots slotsTaken
    tasks(first: 5) { task kind priority playable memoryMib since }
    workers { name version kinds slots running memoryMib memoryUsedMib lastSeenAt }
    running { task attempt worker progress leaseUntil } } }";

async fn run(platform: &Platform, sql: &str) {
    let url = &platform.config.postgres_url;
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap();
}

#[test]
fn operators_see_the_queues_as_the_conductor_last_showed_them() {
    test(async |platform| {
        let operator = token("queue-operator", &[Scope::Operate]);
        let data = platform.data(Some(&operator), QUEUE, json!({})).await;
        assert_eq!(data, json!({"queue": null}), "no conductor ever led");

        let tables = TABLES.concat();
        let tables = format!("create schema conductor; set search_path to conductor; {tables}");
        run(platform, &tables).await;
        let data = platform.data(Some(&operator), QUEUE, json!({})).await;
        assert_eq!(data, json!({"queue": null}), "it has shown nothing yet");

        run(platform, &format!("set search_path to conductor; {SHOWN}")).await;
        let data = platform.data(Some(&operator), QUEUE, json!({})).await;
        let queue = &data["queue"];
        assert_eq!(queue["tasksTotal"], 7);
        assert_eq!(queue["slotsTaken"], 1);
        let expected = json!([
            {"task": "probe", "kind": "probe", "priority": "HIGH", "playable": false,
             "memoryMib": 80, "since": "2023-11-14T22:13:20Z"},
            {"task": "encode-0001", "kind": "encode", "priority": "NORMAL", "playable": true,
             "memoryMib": 300, "since": "2023-11-14T22:13:20Z"},
        ]);
        assert_eq!(queue["tasks"], expected);
        let expected = json!([
            {"name": "worker-1", "version": "1.2", "kinds": ["probe"], "slots": 2, "running": 1,
             "memoryMib": 4000, "memoryUsedMib": 300, "lastSeenAt": "2023-11-14T22:13:21Z"},
        ]);
        assert_eq!(queue["workers"], expected);
        let expected = json!([
            {"task": "audio", "attempt": 2, "worker": "worker-1", "progress": 0.25,
             "leaseUntil": "2023-11-14T22:13:30Z"},
        ]);
        assert_eq!(queue["running"], expected);
    });
}

#[test]
fn the_queues_are_for_operators_only() {
    test(async |platform| {
        let asked = platform.ask(None, QUEUE, json!({})).await;
        assert_eq!(code(&asked), "UNAUTHENTICATED");
        let someone = person("queue-someone");
        let asked = platform.ask(Some(&someone), QUEUE, json!({})).await;
        assert_eq!(code(&asked), "FORBIDDEN");
    });
}

#[test]
fn a_failure_says_to_its_owner_who_tried_what_and_when() {
    const FAILURE: &str = "query($id: ID!) { video(id: $id) { failure { code attempts {
        jobId task attempt worker startedAt endedAt outcome code message } } } }";
    test(async |platform| {
        let mut life = Life::begin(platform, "queue-owner", "damaged", Visibility::Public).await;
        life.complete().await;
        life.plan().await;
        let lease = life.start("audio").await;
        life.fail_attempt(lease).await;
        reach(platform, life.fail().await).await;

        let id = json!({"id": life.id.to_string()});
        let owner = person("queue-owner");
        let data = platform.data(Some(&owner), FAILURE, id.clone()).await;
        let failure = &data["video"]["failure"];
        assert_eq!(failure["code"], "SOURCE_CORRUPT");
        let attempts = failure["attempts"].as_array().unwrap();
        let of = |task: &str| attempts.iter().find(|it| it["task"] == task).unwrap();
        assert_eq!(attempts.len(), 2, "{attempts:?}");
        assert_eq!(of("probe")["outcome"], "FINISHED");
        assert_eq!(of("probe")["code"], json!(null));
        let audio = of("audio");
        assert_eq!(audio["outcome"], "FAILED");
        assert_eq!(audio["code"], "SOURCE_CORRUPT");
        assert_eq!(audio["message"], "the file is damaged");
        assert_eq!(audio["worker"], "worker");
        assert_eq!(audio["attempt"], 1);
        assert_eq!(audio["jobId"], life.job.to_string());
        assert!(audio["startedAt"].is_string() && audio["endedAt"].is_string());

        let stranger = person("queue-stranger");
        let data = platform.data(Some(&stranger), FAILURE, id).await;
        let failure = &data["video"]["failure"];
        assert_eq!(failure["code"], "SOURCE_CORRUPT");
        assert_eq!(
            failure["attempts"],
            json!(null),
            "that is the owner's to know"
        );
    });
}
