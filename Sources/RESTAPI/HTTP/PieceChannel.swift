/// A task that puts pieces into a channel, for as long as somebody holds this: an answer, whose body may never be asked for.
final class Production: Sendable {
  private let task: Task<Void, Never>
  private let abandon: @Sendable () async -> Void

  init<Piece>(into channel: PieceChannel<Piece>, _ produce: @escaping @Sendable () async throws -> Void) {
    task = Task {
      do {
        try await produce()
        await channel.finish(nil)
      } catch {
        await channel.finish(error)
      }
    }
    abandon = { await channel.abandon() }
  }

  deinit {
    task.cancel()
    Task { [abandon] in await abandon() }
  }
}

/// Hands pieces from one task to another, one at a time: whoever produces waits until the last piece was taken.
actor PieceChannel<Piece: Sendable> {
  private var piece: Piece?
  private var end: Result<Void, any Error>?
  private var isAbandoned = false
  private var reader: CheckedContinuation<Void, Never>?
  private var writer: CheckedContinuation<Void, Never>?

  /// Throws once nobody takes any more.
  func put(_ next: Piece) async throws {
    while piece != nil, !isAbandoned { await withCheckedContinuation { writer = $0 } }
    if isAbandoned { throw CancellationError() }
    piece = next
    wakeReader()
  }

  /// After the last piece; nil: all is well.
  func finish(_ error: (any Error)?) {
    end = error.map { .failure($0) } ?? .success(())
    wakeReader()
  }

  /// The next piece; nil after the last one. Throws what ended the production.
  func next() async throws -> Piece? {
    while true {
      if let taken = piece {
        piece = nil
        wakeWriter()
        return taken
      }
      if let end {
        try end.get()
        return nil
      }
      await withCheckedContinuation { reader = $0 }
    }
  }

  /// Nobody takes any more.
  func abandon() {
    isAbandoned = true
    wakeWriter()
  }

  private func wakeReader() {
    reader?.resume()
    reader = nil
  }

  private func wakeWriter() {
    writer?.resume()
    writer = nil
  }
}
