//! Who asks, and what they may see.
//!
//! # Invariants
//!
//! * A token that is given and not valid is an error, never an anonymous viewer.
//! * Public and unlisted videos are for all who name them; private ones for their owner
//!   (scope `videos:read`) and for operators.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use domain::{
    id::Owner,
    video::{By, Visibility},
};
use http::{HeaderMap, header::AUTHORIZATION};
use projections::catalogue::Video;

use crate::{
    error::{ApiError, Code},
    token::{self, Scope},
};

#[derive(Debug, Clone)]
pub(crate) enum Viewer {
    Anonymous,
    Person(Arc<Person>),
}

#[derive(Debug)]
pub(crate) struct Person {
    pub owner: Owner,
    scopes: Vec<Scope>,
    expires_at: SystemTime,
}

impl Viewer {
    /// Who sent a request with these headers.
    pub(crate) fn of_headers(secret: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(Self::Anonymous);
        };
        let text = value.to_str().map_err(|_| ApiError::bad_token())?;
        Self::of_authorization(secret, text)
    }

    /// Who sends `Bearer …`.
    pub(crate) fn of_authorization(secret: &str, text: &str) -> Result<Self, ApiError> {
        let (scheme, token) = text.split_once(' ').ok_or_else(ApiError::bad_token)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::bad_token());
        }
        Self::of_token(secret, token.trim())
    }

    pub(crate) fn of_token(secret: &str, token: &str) -> Result<Self, ApiError> {
        let verified = token::verify(secret, token).ok_or_else(ApiError::bad_token)?;
        Ok(Self::Person(Arc::new(Person {
            owner: Owner(verified.subject),
            scopes: verified.scopes,
            expires_at: UNIX_EPOCH + Duration::from_secs(verified.expires_at),
        })))
    }

    /// Whether this viewer, who knows its id, may see a video.
    pub(crate) fn sees(&self, owner: &Owner, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Private => self.owns(owner) || self.operates(),
        }
    }

    /// Whether this viewer may meet a video without knowing its id.
    pub(crate) fn is_shown(&self, owner: &Owner, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Public => true,
            Visibility::Unlisted | Visibility::Private => self.owns(owner) || self.operates(),
        }
    }

    /// Whether it is theirs and the token lets them see it.
    pub(crate) fn owns(&self, owner: &Owner) -> bool {
        self.reads_as().is_some_and(|own| own == owner)
    }

    /// Whose private videos this viewer may see.
    pub(crate) fn reads_as(&self) -> Option<&Owner> {
        match self {
            Self::Person(person) if person.allows(Scope::VideosRead) => Some(&person.owner),
            Self::Person(_) | Self::Anonymous => None,
        }
    }

    /// Whether this viewer may be told what became of a video, and how: its owner, operators, and
    /// analysts where everyone may see it.
    pub(crate) fn studies(&self, video: &Video) -> bool {
        let analyses = self.with(Scope::AnalyticsRead).is_ok();
        self.owns(&video.owner)
            || self.operates()
            || (analyses && self.sees(&video.owner, video.details.visibility))
    }

    pub(crate) fn operates(&self) -> bool {
        match self {
            Self::Person(person) => person.allows(Scope::Operate),
            Self::Anonymous => false,
        }
    }

    /// The person, if their token has `scope`.
    pub(crate) fn with(&self, scope: Scope) -> Result<&Person, ApiError> {
        match self {
            Self::Anonymous => Err(ApiError::no_token()),
            Self::Person(person) if person.allows(scope) => Ok(person),
            Self::Person(_) => Err(ApiError::new(
                Code::Forbidden,
                format!("this needs a token with the scope `{scope}`"),
            )),
        }
    }

    /// The person, if their token has one of `scopes`.
    pub(crate) fn with_one_of(&self, scopes: &[Scope]) -> Result<&Person, ApiError> {
        let found = scopes.iter().find_map(|scope| self.with(*scope).ok());
        found.ok_or_else(|| match self {
            Self::Anonymous => ApiError::no_token(),
            Self::Person(_) => {
                let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
                ApiError::new(
                    Code::Forbidden,
                    format!(
                        "this needs a token with the scope `{}`",
                        names.join("` or `")
                    ),
                )
            }
        })
    }

    /// Who acts, for the log.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Person(person) => person.owner.0.clone(),
        }
    }

    /// How long their token is still good for; `None` where there is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        match self {
            Self::Anonymous => None,
            Self::Person(person) => Some(
                person
                    .expires_at
                    .duration_since(SystemTime::now())
                    .unwrap_or_default(),
            ),
        }
    }
}

impl Person {
    /// `operate` includes all the others.
    fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Operate)
    }

    /// As whom they change videos.
    pub(crate) fn by(&self) -> By {
        if self.scopes.contains(&Scope::Operate) {
            return By::Operator(self.owner.0.clone());
        }
        By::Owner(self.owner.clone())
    }
}
