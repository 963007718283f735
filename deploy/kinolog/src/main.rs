//! The command line of `kinolog`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use kinolog::{
    config::Settings,
    demo, doctor,
    platform::{self, Platform},
    read_models, roles, tracing_setup,
    up::{self, Ports},
    upload, watch,
};

/// A self-hosted video platform whose memory is an event log.
#[derive(Parser)]
#[command(name = "kinolog", version)]
struct Cli {
    /// The settings file; the environment (KINOLOG_…) wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where a platform on this machine keeps its data.
    #[arg(
        long,
        global = true,
        default_value = ".kinolog",
        env = "KINOLOG_DATA",
        value_name = "DIR"
    )]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole platform on this machine, one process per role, until Ctrl-C.
    Up(UpArgs),
    /// Stops the platform of the data folder, in order, and waits for its end.
    Down,
    /// The role `api`: GraphQL, playback, notifications.
    Api(ListenArgs),
    /// The role `projections`: keeps the read models.
    Project,
    /// The role `conductor`: plans jobs and hands tasks to workers.
    Conduct(ListenArgs),
    /// Uploads files, and prints one JSON object per video.
    Upload(upload::UploadArgs),
    /// Prints announcements as JSON lines.
    Watch(watch::WatchArgs),
    /// Uploads a file, follows it until it is ready, and checks everything that can be played.
    Demo(demo::DemoArgs),
    /// Shows how far each read model is and which videos it stopped.
    Projections(read_models::ProjectionsArgs),
    /// Builds a read model anew beside the one that serves, and has it serve when it says the same.
    Rebuild(read_models::RebuildArgs),
    /// Compares what a read model says with a fresh fold of the log.
    Verify(read_models::VerifyArgs),
    /// Prints a token for a platform whose token secret this machine has.
    Token(TokenArgs),
    /// Prints all settings, secrets hidden.
    Config,
    /// Checks everything a platform needs, and says what to do.
    Doctor,
    /// Prints the GraphQL schema.
    #[command(hide = true)]
    Schema,
}

#[derive(Args)]
struct UpArgs {
    /// How many workers to run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=64))]
    workers: u16,
    /// Start workers when there is work for them, and keep none when there is none.
    #[arg(long)]
    workers_on_demand: bool,
    /// 0: take any free ports.
    #[arg(long, value_parser = ["0"])]
    ports: Option<String>,
    #[arg(long, default_value_t = 8080)]
    api_port: u16,
    #[arg(long, default_value_t = 2113)]
    eventstore_port: u16,
    #[arg(long, default_value_t = 9000)]
    objectstore_port: u16,
    #[arg(long, default_value_t = 8090)]
    conductor_port: u16,
    /// Return as soon as it is ready, and leave it running.
    #[arg(long)]
    detach: bool,
}

#[derive(Args)]
struct ListenArgs {
    /// Where to listen, when no supervisor hands a socket down.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

#[derive(Args)]
struct TokenArgs {
    /// Whose token: the owner of what is uploaded with it.
    #[arg(long, default_value = "demo")]
    sub: String,
    /// videos:read, videos:write, analytics:read, operate.
    #[arg(long, default_value = "videos:read videos:write")]
    scope: String,
    /// How long it is valid: 90s, 15m, 12h, 30d.
    #[arg(long, default_value = "12h", value_parser = duration)]
    ttl: Duration,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The supervisor spawns from this very thread: the signal that ends its children when it
    // dies is sent when the *thread* that spawned them ends.
    let runtime = match cli.command {
        Command::Up(_) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    };
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            runtime.shutdown_timeout(Duration::from_secs(1));
            outcome
        }
        Err(error) => Err(anyhow::Error::from(error).context("failed to start the runtime")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kinolog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let config = cli.config.as_deref();
    let data = platform::absolute(&cli.data)?;
    match cli.command {
        Command::Up(args) => {
            let settings = Settings::load(config)?;
            let ports = ports(&args);
            let options = up::Options {
                data,
                workers: args.workers,
                workers_on_demand: args.workers_on_demand,
                ports,
                settings,
            };
            match args.detach {
                true => up::detached(&options, config).await,
                false => up::run(options).await,
            }
        }
        Command::Down => up::down(&data).await,
        Command::Api(args) => role(config, args, roles::api).await,
        Command::Conduct(args) => role(config, args, roles::conduct).await,
        Command::Project => {
            let settings = Settings::load(config)?;
            tracing_setup::start(&settings)?;
            roles::until_told(|stop| roles::project(settings, stop)).await
        }
        Command::Upload(args) => upload::run(&Platform::find(&data)?, args).await,
        Command::Watch(args) => watch::run(&Platform::find(&data)?, args).await,
        Command::Demo(args) => demo::run(&data, config, args).await,
        Command::Projections(args) => {
            let stores = read_models::Stores::find(&Settings::load(config)?, &data)?;
            read_models::projections(&stores, args).await
        }
        Command::Rebuild(args) => {
            let stores = read_models::Stores::find(&Settings::load(config)?, &data)?;
            read_models::rebuild(&stores, &args).await
        }
        Command::Verify(args) => {
            let stores = read_models::Stores::find(&Settings::load(config)?, &data)?;
            read_models::verify(&stores, &args).await
        }
        Command::Token(args) => {
            let settings = Settings::load(config)?.with_secrets_of(&data)?;
            println!(
                "{}",
                roles::token(&settings, &args.sub, &args.scope, args.ttl)?
            );
            Ok(())
        }
        Command::Config => {
            print!("{}", Settings::load(config)?.listed(config));
            Ok(())
        }
        Command::Schema => {
            print!("{}", api::schema::sdl());
            Ok(())
        }
        Command::Doctor => doctor::run(&Settings::load(config)?, &data).await,
    }
}

async fn role<F, R>(
    config: Option<&std::path::Path>,
    args: ListenArgs,
    serve: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Settings, tokio::net::TcpListener, tokio_util::sync::CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let settings = Settings::load(config)?;
    tracing_setup::start(&settings)?;
    let listener = roles::listener(args.listen.as_deref()).await?;
    roles::until_told(|stop| serve(settings, listener, stop)).await
}

fn ports(args: &UpArgs) -> Ports {
    if args.ports.is_some() {
        return Ports::default();
    }
    Ports {
        api: args.api_port,
        eventstore: args.eventstore_port,
        objectstore: args.objectstore_port,
        conductor: args.conductor_port,
    }
}

/// `90s`, `15m`, `12h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no duration; say for example 90s, 15m, 12h or 30d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}
