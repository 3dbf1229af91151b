//! A bounded cache with one load per key: concurrent callers of a missing key wait for the same load.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Values by key, at most `capacity` of them, each for at most `ttl`. Clones share it.
#[derive(Clone)]
pub struct Cache<K, V>(moka::future::Cache<K, V>);

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache. `capacity` counts entries; `ttl` counts from the load.
    #[must_use]
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self(moka::future::Cache::builder().max_capacity(capacity).time_to_live(ttl).build())
    }

    /// The value of this key; `load` runs if there is none, once however many ask at the same time.
    ///
    /// # Errors
    /// The load's error, shared by all who waited for it; nothing is kept then.
    pub async fn get_or_load<Q, E>(
        &self,
        key: &Q,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Hash + Eq + ?Sized,
        E: Send + Sync + 'static,
    {
        self.0.try_get_with_by_ref(key, load).await
    }

    /// The value of this key, if it is there.
    pub async fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).await
    }

    /// Forgets this key: whoever changes what a value was made of does this after the commit.
    pub async fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.invalidate(key).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn concurrent_callers_share_one_load() {
        let cache = Cache::<u32, u32>::new(10, Duration::from_secs(60));
        let loads = AtomicU32::new(0);
        let load = || async {
            tokio::task::yield_now().await;
            Ok::<_, std::convert::Infallible>(loads.fetch_add(1, Ordering::Relaxed))
        };
        let (a, b) = tokio::join!(cache.get_or_load(&1, load()), cache.get_or_load(&1, load()));
        assert_eq!((a.unwrap(), b.unwrap(), loads.load(Ordering::Relaxed)), (0, 0, 1));
    }

    #[tokio::test]
    async fn a_failed_load_is_not_kept() {
        let cache = Cache::<u32, u32>::new(10, Duration::from_secs(60));
        assert_eq!(cache.get_or_load(&1, async { Err("down") }).await, Err(Arc::new("down")));
        assert_eq!(cache.get_or_load(&1, async { Ok::<_, &str>(7) }).await, Ok(7));
        cache.forget(&1).await;
        assert_eq!(cache.get(&1).await, None);
    }
}
