import Synchronization

/// Tells whoever listens in this process.
final class WakeHub: Sendable {
  private struct State {
    var next = 0
    var listeners: [Int: (topic: WakeTopic, continuation: AsyncStream<Void>.Continuation)] = [:]
  }
  private let state = Mutex(State())

  /// An element for each time that the topic was told; several that nobody took yet are one. Ends with the task that
  /// reads it.
  func wakes(_ topic: WakeTopic) -> AsyncStream<Void> {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let number = state.withLock { state in
      state.next += 1
      state.listeners[state.next] = (topic, continuation)
      return state.next
    }
    continuation.onTermination = { [weak self] _ in self?.state.withLock { _ = $0.listeners.removeValue(forKey: number) } }
    return stream
  }

  func tell(_ topics: Set<WakeTopic>) {
    guard !topics.isEmpty else { return }
    let told = state.withLock { state in
      state.listeners.values.filter { topics.contains($0.topic) }.map(\.continuation)
    }
    for continuation in told { continuation.yield() }
  }
}
