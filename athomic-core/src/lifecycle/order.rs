//! From priorities and dependencies to stages. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::OrderError;
use super::service::DynService;

type Services = Vec<Arc<dyn DynService>>;

/// Put services in stages: each after what it depends on, else lower priority numbers first, else as
/// they were registered.
pub(super) fn stages(services: &[Arc<dyn DynService>]) -> Result<Vec<Services>, OrderError> {
    check_names(services)?;
    let mut waiting: Services = services.to_vec();
    let mut started: HashSet<String> = HashSet::new();
    let mut stages = Vec::new();
    while !waiting.is_empty() {
        let can_start = |service: &Arc<dyn DynService>| {
            service
                .depends_on()
                .iter()
                .all(|dependency| started.contains(dependency))
        };
        let first = waiting
            .iter()
            .filter(|service| can_start(service))
            .map(|service| service.priority())
            .min();
        let Some(first) = first else {
            let services = waiting.iter().map(|service| service.name().to_owned()).collect();
            return Err(OrderError::Circle { services });
        };
        let (stage, rest): (Services, Services) = waiting
            .iter()
            .cloned()
            .partition(|service| service.priority() == first && can_start(service));
        started.extend(stage.iter().map(|service| service.name().to_owned()));
        stages.push(stage);
        waiting = rest;
    }
    Ok(stages)
}

fn check_names(services: &[Arc<dyn DynService>]) -> Result<(), OrderError> {
    let mut names = HashSet::new();
    for service in services {
        if !names.insert(service.name()) {
            return Err(OrderError::SameName {
                name: service.name().to_owned(),
            });
        }
    }
    for service in services {
        if let Some(missing) = service
            .depends_on()
            .iter()
            .find(|name| !names.contains(name.as_str()))
        {
            return Err(OrderError::Missing {
                service: service.name().to_owned(),
                missing: missing.clone(),
            });
        }
    }
    Ok(())
}
