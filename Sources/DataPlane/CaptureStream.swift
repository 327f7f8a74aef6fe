import Synchronization

/// A running capture's file, handed over in pieces as it comes into being: for a reader that sends it elsewhere.
///
/// The capture's writer thread puts pieces in, one reader takes them out; any thread may be either, none ever waits for
/// the other while it holds a lock, and no packet thread is involved. Memory is bounded: a reader that is too slow
/// leaves packets in the capture's rings until these are full, and what is dropped there is counted
/// (``CaptureSummary/droppedRingFull``).
///
/// Every piece consists of whole blocks; the first one begins with the section header and the interface description.
public final class CaptureStream: Sendable {
  private struct State: Sendable {
    var pieces: [[UInt8]] = []
    var first = 0
    var byteCount = 0
    var isEnded = false
    var isCancelled = false
    var wake: (@Sendable () -> Void)?
  }

  /// Bytes of pieces that wait for the reader, at most; a last piece with the statistics may come on top.
  public let byteCountMax: Int
  private let state = Mutex(State())
  private let onReady: @Sendable () -> Void

  public static var byteCountMin: Int { 512 << 10 }

  /// - Parameters:
  ///   - byteCountMax: At least ``byteCountMin``, so that the longest packet fits.
  ///   - onReady: Called on the writer's thread when there is something to take after there was nothing, and at the
  ///     end. It must only signal: the reader is another thread or task.
  public init(byteCountMax: Int = 4 << 20, onReady: @escaping @Sendable () -> Void) {
    precondition(byteCountMax >= CaptureStream.byteCountMin, "a stream has room for the longest packet")
    self.byteCountMax = byteCountMax
    self.onReady = onReady
  }

  // MARK: The reader's side

  /// The next piece; nil: nothing now. Never blocks.
  public func next() -> [UInt8]? {
    let (piece, wake): ([UInt8]?, (@Sendable () -> Void)?) = state.withLock {
      guard $0.first < $0.pieces.count else { return (nil, nil) }
      let piece = $0.pieces[$0.first]
      $0.pieces[$0.first] = []
      $0.first += 1
      if $0.first == $0.pieces.count {
        $0.pieces.removeAll(keepingCapacity: true)
        $0.first = 0
      }
      $0.byteCount -= piece.count
      return (piece, $0.wake)
    }
    wake?()
    return piece
  }

  /// The capture is over and everything was taken.
  public var isFinished: Bool { state.withLock { ($0.isEnded && $0.first == $0.pieces.count) || $0.isCancelled } }

  /// The reader has gone: what waits is thrown away, and the capture ends as if it had been stopped.
  public func cancel() {
    let wake = state.withLock {
      $0.isCancelled = true
      $0.pieces = []
      $0.first = 0
      $0.byteCount = 0
      return $0.wake
    }
    wake?()
  }

  // MARK: The writer's side

  /// `wake` is called when there is more room, or nobody reads any more. False: another capture has the stream.
  func begin(wake: @escaping @Sendable () -> Void) -> Bool {
    state.withLock {
      if $0.wake != nil || $0.isEnded { return false }
      $0.wake = wake
      return true
    }
  }

  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  /// Bytes that may be put in now.
  var room: Int { state.withLock { max(0, byteCountMax - $0.byteCount) } }

  func put(_ piece: [UInt8]) {
    let isNews = state.withLock {
      if $0.isCancelled { return false }
      $0.pieces.append(piece)
      $0.byteCount += piece.count
      return $0.pieces.count - $0.first == 1
    }
    if isNews { onReady() }
  }

  func end() {
    state.withLock {
      $0.isEnded = true
      $0.wake = nil
    }
    onReady()
  }
}

extension CaptureStream: Hashable {
  public static func == (left: CaptureStream, right: CaptureStream) -> Bool { left === right }
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
