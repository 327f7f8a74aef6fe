import Control
import ControlProtocol
import DataPlane
import FoundationEssentials
import GRPCCore
import Synchronization

/// How many captures are being streamed. Any thread.
final class StreamCount: Sendable {
  private let count = Mutex(0)

  func begin() { count.withLock { $0 += 1 } }
  func end() { count.withLock { $0 -= 1 } }

  /// Looks again and again, at the end of a daemon.
  func waitUntilNone(until deadline: ContinuousClock.Instant) async {
    while count.withLock({ $0 > 0 }), ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(10)) }
  }
}

extension ControlServiceHandler {
  /// Longest piece of a capture in one message, bytes.
  private static var pieceByteCountMax: Int { 1 << 20 }

  func streamCapture(
    request: Sluice_Control_V1_StreamCaptureRequest, response: RPCWriter<Sluice_Control_V1_StreamCaptureResponse>,
    context: ServerContext
  ) async throws {
    streams.begin()
    defer { streams.end() }
    let (signals, news) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let stream = CaptureStream { news.yield() }
    let report = try await answering {
      try await controller.startCapture(CaptureOptions(request.capture), stream: stream)
    }
    // A handler's task isn't cancelled when the caller leaves (grpc-swift-2): this is what ends the capture then.
    let pump = Task {
      try await response.write(.with { $0.capture = Sluice_Control_V1_Capture(report) })
      var wait = signals.makeAsyncIterator()
      while true {
        while let piece = stream.next() {
          for start in Swift.stride(from: 0, to: piece.count, by: Self.pieceByteCountMax) {
            let part = piece[start..<min(start + Self.pieceByteCountMax, piece.count)]
            try await response.write(.with { $0.data = Data(part) })
          }
        }
        if stream.isFinished { return }
        if await wait.next() == nil { return }
      }
    }
    try await withRPCCancellationHandler {
      do {
        try await pump.value
      } catch {
        stream.cancel()
        if error is CancellationError { return }
        throw error
      }
      // Its files, so to speak, are complete: waits for the writer thread, which is at its end.
      let final = try await answering { try await controller.stopCapture(report.identifier) }
      try await response.write(.with { $0.capture = Sluice_Control_V1_Capture(final) })
    } onCancelRPC: {
      stream.cancel()
      news.finish()
      pump.cancel()
    }
  }
}
