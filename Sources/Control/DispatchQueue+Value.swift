import Dispatch

extension DispatchQueue {
  /// What the body comes to on this queue: for what may wait for a disk or for packet threads, while the caller's actor goes on.
  func value<Value: Sendable, Failure: Error>(
    of body: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let result: Result<Value, Failure> = await withCheckedContinuation { done in
      async { done.resume(returning: Result(catching: body)) }
    }
    return try result.get()
  }
}
