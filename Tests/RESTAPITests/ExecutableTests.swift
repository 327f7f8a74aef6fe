import DatabaseSupport
import Foundation
import Synchronization
import Testing

/// The built program, run as an operator runs it.
@Suite("sluice-api, the program")
struct ExecutableTests {
  /// A running or ended program with what it has printed to standard error.
  final class Run: Sendable {
    private let process: Process
    private let output: String

    /// - Parameter environment: over a temporary directory, a free port and SQLite.
    init(in directory: String, _ environment: [String: String], _ arguments: [String] = []) throws {
      let programs = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      output = "\(directory)/stderr-\(UUID().uuidString)"
      let process = Process()
      process.executableURL = programs.appendingPathComponent("sluice-api")
      process.arguments = arguments
      process.environment = [
        "PATH": "/usr/bin", "HTTP_PORT": "0", "DB_PATH": "\(directory)/s.db", "SLUICE_LOG": "console",
        "SLUICE_JWT_SECRET_FILE": "\(directory)/state/jwt.secret", "SLUICE_CONFIG": "\(directory)/sluice.yaml",
        "SLUICE_SOCKET": "\(directory)/d.sock",
      ].merging(environment) { $1 }
      try Data("release_mode: true\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/sluice.yaml"))
      try Data().write(to: URL(fileURLWithPath: output))
      let file = try #require(FileHandle(forWritingAtPath: output))
      process.standardError = file
      process.standardOutput = FileHandle.nullDevice
      process.standardInput = FileHandle.nullDevice
      try process.run()
      self.process = process
    }

    var text: String { (try? String(contentsOfFile: output, encoding: .utf8)) ?? "" }
    var processIdentifier: Int32 { process.processIdentifier }
    func terminate() { process.terminate() }
    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// The exit status; nil where it runs on after 30 seconds, and is killed then.
    func status() async throws -> Int32? {
      let deadline = ContinuousClock.now + .seconds(30)
      while process.isRunning {
        guard ContinuousClock.now < deadline else {
          kill(process.processIdentifier, SIGKILL)
          return nil
        }
        try await Task.sleep(for: .milliseconds(5))
      }
      return process.terminationStatus
    }

    /// The port it listens on, once it says that it is ready.
    func port() async throws -> Int {
      let deadline = ContinuousClock.now + .seconds(30)
      while process.isRunning, ContinuousClock.now < deadline {
        if let match = text.firstMatch(of: /ready.*address=\S*:(\d+)/), let port = Int(match.1) { return port }
        try await Task.sleep(for: .milliseconds(5))
      }
      throw NotReady(output: text)
    }

    struct NotReady: Error { let output: String }
  }

  private func withDirectory(_ body: (String) async throws -> Void) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try await body(directory)
  }

  @Test("Ends with 0 on SIGTERM, and keeps its secret and database to itself")
  func life() async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, [:])
      let port = try await run.port()
      #expect((1...65535).contains(port))
      let secret = "\(directory)/state/jwt.secret"
      for path in [secret, "\(directory)/s.db"] {
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600, "\(path)")
      }
      run.terminate()
      #expect(try await run.status() == 0, "\(run.text)")
      #expect(!run.text.contains("admin123"))
      let before = try Data(contentsOf: URL(fileURLWithPath: secret))
      let again = try Run(in: directory, [:])
      _ = try await again.port()
      again.terminate()
      _ = try await again.status()
      #expect(try Data(contentsOf: URL(fileURLWithPath: secret)) == before, "tokens outlive a restart")
    }
  }

  @Test("Refuses to listen beyond loopback while the first password stands", arguments: ["0.0.0.0", "::", "192.0.2.1"])
  func loopback(_ host: String) async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, ["HTTP_HOST": host])
      #expect(try await run.status() == 1)
      #expect(run.text.contains("refusing to listen") && run.text.contains("HTTP_HOST=127.0.0.1"))
    }
  }

  @Test(
    "Refuses a token secret that is short or that others can read",
    arguments: [(0o600, "short"), (0o604, String(repeating: "a", count: 48))])
  func badSecret(_ mode: Int, _ secret: String) async throws {
    try await withDirectory { directory in
      let path = "\(directory)/secret"
      #expect(
        FileManager.default.createFile(atPath: path, contents: Data(secret.utf8), attributes: [.posixPermissions: mode])
      )
      let run = try Run(in: directory, ["SLUICE_JWT_SECRET_FILE": path])
      #expect(try await run.status() == 1)
      #expect(run.text.contains(path) && !run.text.contains(String(repeating: "a", count: 48)))
    }
  }

  @Test("Gives up on a database that never answers, after the retries, with the reason")
  func noDatabase() async throws {
    try await withDirectory { directory in
      let run = try Run(
        in: directory,
        [
          "DB_TYPE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_PASS": "hidden-secret",
          "DB_MAX_RETRIES": "2", "DB_RETRY_DELAY": "10ms",
        ])
      #expect(try await run.status() == 1)
      #expect(run.text.contains("retry=2/2") && run.text.contains("unavailable"))
      #expect(!run.text.contains("hidden-secret"))
    }
  }

  @Test(
    "Wrong settings and usage end with 64 and name the setting",
    arguments: [
      (["HTTP_PORT": "70000"], "HTTP_PORT"), (["DB_TYPE": "mongo"], "DB_TYPE"),
      (["HTTP_TLS_KEY": "/none.key"], "api.tls_certificate"),
    ])
  func badSettings(_ environment: [String: String], _ name: String) async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, environment)
      #expect(try await run.status() == 64)
      #expect(run.text.contains(name))
    }
  }
}
