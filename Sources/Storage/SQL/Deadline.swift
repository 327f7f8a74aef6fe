import Synchronization

/// The result of `work`, or `error` once the time is over. Work that is late goes on by itself and its result is
/// dropped: a blocking database call cannot be interrupted, only abandoned.
func within<T: Sendable>(
  _ time: Duration, else error: StorageError, _ work: @escaping @Sendable () async throws -> T
) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    let first = FirstResult(continuation)
    let timer = Task {
      do { try await Task.sleep(for: time) } catch { return }
      first.resume(.failure(error))
    }
    Task {
      let result: Result<T, any Error>
      do { result = .success(try await work()) } catch { result = .failure(error) }
      timer.cancel()
      first.resume(result)
    }
  }
}

/// A continuation that the first of several resumes.
private final class FirstResult<T: Sendable>: Sendable {
  private let continuation: Mutex<CheckedContinuation<T, any Error>?>

  init(_ continuation: CheckedContinuation<T, any Error>) { self.continuation = Mutex(continuation) }

  func resume(_ result: Result<T, any Error>) {
    let waiting = continuation.withLock { current in
      defer { current = nil }
      return current
    }
    waiting?.resume(with: result)
  }
}
