import ArgumentParser
import ControlProtocol
import Dispatch
import Foundation
import LinuxSystem

extension CaptureCommand.Start {
  /// Runs a capture whose file comes here as it is made. It ends at a limit, by Ctrl-C, and when nobody reads any more.
  func stream(to path: String, _ milliseconds: UInt64) async throws {
    let sink = try ByteSink(path)
    do { try await stream(to: sink, milliseconds) } catch {
      sink.discardIfEmpty()
      throw error
    }
  }

  private func stream(to sink: ByteSink, _ milliseconds: UInt64) async throws {
    let output = options.output
    try await options.run(silenceMax: nil) { api in
      let body: JSON = [
        "node": .string(options.node), "interface": .string(interface), "snap_length": .count(snapLength),
        "sample_every": .count(sampleEvery), "packet_limit": .count(packetLimit), "byte_limit": .count(byteLimit),
        "duration_ms": .count(milliseconds), "rules": .strings(rules),
      ]
      do {
        try await api.download(.post, "/captures/stream", body: body) { bytes in try sink.write(bytes) }
      } catch where sink.isClosedByReader {
        return
      }
    } daemon: { daemon in
      let interrupted = Interruption()
      let last = LastReport()
      let request = Sluice_Control_V1_StartCaptureRequest.with {
        ($0.interface, $0.rules, $0.durationMillis) = (interface, rules, milliseconds)
        ($0.snapLength, $0.sampleEvery, $0.packetLimit, $0.byteLimit) = (snapLength, sampleEvery, packetLimit, byteLimit)
      }
      do {
        try await daemon.streamCapture(request) { part in
          if part.hasCapture {
            if last.set(part.capture) {
              // So that the file is completed with its statistics.
              interrupted.then { _ = try? await daemon.stopCapture(part.capture.id) }
            }
          }
          if !part.data.isEmpty { try sink.write(part.data) }
        }
      } catch where sink.isClosedByReader {
        return
      }
      guard let capture = last.value?.json else { return }
      output.note(CaptureCommand.text(capture))
      if capture["state"] == "failed" { throw ExitCode(ExitStatus.failure.rawValue) }
    }
  }
}

/// Where bytes go: standard output, or a new file.
final class ByteSink: @unchecked Sendable {
  /// Nil: standard output.
  private let file: FileHandle?
  private let path: String
  private let lock = NSLock()
  private var isClosed = false
  private var isEmpty = true

  /// Whoever reads has gone.
  var isClosedByReader: Bool { lock.withLock { isClosed } }

  init(_ path: String) throws(CommandError) {
    self.path = path
    // A closed pipe is told by the write, not by the signal.
    signal(SIGPIPE, SIG_IGN)
    if path == "-" {
      guard isatty(1) == 0 else {
        throw .usage("a capture is nothing for a terminal: write it to a file, or pipe it: -w - | wireshark -k -i -")
      }
      file = nil
      return
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let error = SystemError(operation: "create", code: errno, subject: path)
      throw CommandError(.failure, "cannot_write", "\(error)")
    }
    file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  }

  /// The new file goes where nothing came, so that the next try can make it.
  func discardIfEmpty() {
    if file != nil, lock.withLock({ isEmpty }) { unlink(path) }
  }

  func write(_ bytes: some Collection<UInt8>) throws {
    lock.withLock { isEmpty = false }
    if let file { return try file.write(contentsOf: Data(bytes)) }
    do throws(SystemError) {
      try StandardOutput.write(Array(bytes))
    } catch {
      if error.code == EPIPE { lock.withLock { isClosed = true } }
      throw CommandError(.failure, "cannot_write", "\(error)")
    }
  }
}

/// What the daemon said last about the capture.
final class LastReport: @unchecked Sendable {
  private let lock = NSLock()
  private var stored: Sluice_Control_V1_Capture?

  var value: Sluice_Control_V1_Capture? { lock.withLock { stored } }

  /// True the first time.
  func set(_ capture: Sluice_Control_V1_Capture) -> Bool {
    lock.withLock {
      defer { stored = capture }
      return stored == nil
    }
  }
}

/// SIGINT and SIGTERM, once each, instead of an end in the middle.
final class Interruption: @unchecked Sendable {
  private let lock = NSLock()
  private var sources: [any DispatchSourceSignal] = []

  /// Runs `body` at the first signal; the second one ends the program as usual.
  func then(_ body: @escaping @Sendable () async -> Void) {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler {
        signal(number, SIG_DFL)
        Task { await body() }
      }
      source.resume()
      lock.withLock { sources.append(source) }
    }
  }

  deinit { for source in sources { source.cancel() } }
}
