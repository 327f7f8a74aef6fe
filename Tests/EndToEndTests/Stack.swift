import Foundation
import NetworkSupport
import Testing

/// The programs as they are built, in a network namespace with a pair of interfaces: `lan0` is filtered, frames out of
/// `lan1` arrive there. Everything is gone with the value.
final class Stack {
  let namespace: NetworkNamespace
  let folder: String
  let bpffs: String
  /// Of the built executables.
  let binaries: String
  private var daemon: Process?
  private var api: Process?
  private(set) var token: String?

  static let password = "a long and fine password"

  init() throws {
    namespace = try NetworkNamespace()
    folder = namespace.folder
    bpffs = try namespace.mountBPFFileSystem()
    binaries = try Stack.findBinaries()
    try namespace.makePair("lan0", "lan1")
    try Shell.run("mkdir -p \(folder)/home")
  }

  /// With both programs started, signed in as the first administrator.
  static func signedIn() throws -> Stack {
    let stack = try Stack()
    try stack.startDaemon()
    try stack.startAPI()
    try stack.signIn()
    return stack
  }

  deinit {
    stopAPI()
    stopDaemon(SIGKILL)
  }

  /// Beside the test bundle, which the runner names in its arguments.
  private static func findBinaries() throws -> String {
    let arguments = CommandLine.arguments
    if let index = arguments.firstIndex(of: "--test-bundle-path"), index + 1 < arguments.count {
      return URL(fileURLWithPath: arguments[index + 1]).deletingLastPathComponent().path
    }
    return try #require(Bundle.main.executableURL).deletingLastPathComponent().path
  }

  // MARK: Processes

  var daemonIdentifier: Int32? { daemon?.processIdentifier }
  var socket: String { "\(folder)/sluiced.sock" }
  var captures: String { "\(folder)/captures" }

  /// Starts sluiced and waits until it answers. `prefix`: a command that starts it, for example one that drops rights.
  func startDaemon(prefix: [String] = []) throws {
    let process = try start(
      prefix + [
        "\(binaries)/sluiced", "-v", "--set", "daemon.state_directory=\(folder)/state", "--set",
        "daemon.capture_directory=\(captures)", "--set", "daemon.bpffs=\(bpffs)", "--set",
        "control.socket=\(socket)",
      ], log: "sluiced.log")
    daemon = process
    try wait("sluiced is ready") {
      if !process.isRunning { throw StackError("sluiced ended: \(self.log("sluiced.log"))") }
      return (try? self.metrics()) != nil && FileManager.default.fileExists(atPath: self.socket)
        && self.log("sluiced.log").contains(" ready version=")
    }
  }

  /// Sends a signal and waits for the end.
  func stopDaemon(_ signal: Int32 = SIGTERM) {
    guard let process = daemon else { return }
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    daemon = nil
    try? FileManager.default.removeItem(atPath: "\(folder)/sluiced.log")
  }

  /// `prefix`: as of ``startDaemon(prefix:)``.
  func startAPI(_ environment: [String: String] = [:], prefix: [String] = [], waits: Bool = true) throws {
    var variables = [
      "HTTP_PORT": "8080", "SLUICE_SOCKET": socket, "DB_PATH": "\(folder)/api/sluice.db",
      "SLUICE_TOKEN_KEYS": "\(folder)/api/keys",
    ]
    variables.merge(environment) { $1 }
    let settings = variables.map { "\($0)=\($1)" }
    let process = try start(prefix + ["env"] + settings + ["\(binaries)/sluice-api", "-v"], log: "sluice-api.log")
    api = process
    guard waits else { return }
    try wait("sluice-api is ready") {
      if !process.isRunning { throw StackError("sluice-api ended: \(self.log("sluice-api.log"))") }
      return (try? self.get("/readyz", base: ""))?.status == 200
    }
  }

  func stopAPI(_ signal: Int32 = SIGTERM) {
    guard let process = api else { return }
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    api = nil
  }

  /// The sluice command, left running; what it says goes into a file of the folder. To be terminated by the caller.
  func follow(_ arguments: String, into log: String) throws -> Process {
    try start(
      ["env", "HOME=\(folder)/home", "XDG_CONFIG_HOME=\(folder)/home", "\(binaries)/sluice"]
        + arguments.split(separator: " ").map(String.init), log: log)
  }

  /// A program inside, left running; what it says goes into a file of the folder. To be terminated by the caller.
  func start(_ command: [String], log: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["ip", "netns", "exec", namespace.name] + command
    // Not what an installed Sluice is told on this machine.
    process.environment = ProcessInfo.processInfo.environment.filter { variable in
      !["SLUICE_", "DB_", "HTTP_", "METRICS_", "GRPC_"].contains { variable.key.hasPrefix($0) }
    }.merging(["SLUICE_CONFIG": "/dev/null"]) { $1 }
    try Data().write(to: URL(fileURLWithPath: "\(folder)/\(log)"))
    let file = try #require(FileHandle(forWritingAtPath: "\(folder)/\(log)"))
    process.standardOutput = file
    process.standardError = file
    process.standardInput = FileHandle.nullDevice
    try process.run()
    return process
  }

  func log(_ name: String) -> String { (try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)) ?? "" }

  /// Looks again until `condition` holds.
  func wait(_ what: String, atMost seconds: Double = 10, until condition: () throws -> Bool) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    while Date() < end {
      if try condition() { return }
      usleep(20_000)
    }
    throw StackError("waited in vain: \(what)\n\(log("sluiced.log"))\n\(log("sluice-api.log"))")
  }

  // MARK: HTTP, by curl

  struct Answer {
    var status: Int
    var body: JSON
    var text: String
  }

  func get(_ path: String, base: String = "/api/v1", token: String? = nil) throws -> Answer {
    try request("GET", path, base: base, token: token)
  }

  func post(_ path: String, _ body: String = "{}", token: String? = nil) throws -> Answer {
    try request("POST", path, body: body, token: token)
  }

  /// With the token of ``signIn()`` unless another is given; an empty one means none.
  func request(
    _ method: String, _ path: String, base: String = "/api/v1", body: String? = nil, token: String? = nil,
    contentType: String = "application/json", extra: String = ""
  ) throws -> Answer {
    var command = "curl -s -o - -w '\\n%{http_code}' -X \(method) 'http://127.0.0.1:8080\(base)\(path)' \(extra)"
    if let body {
      let file = "\(folder)/body.\(UUID().uuidString)"
      try body.write(toFile: file, atomically: false, encoding: .utf8)
      command += " -H 'Content-Type: \(contentType)' --data-binary @\(file)"
    }
    let bearer = token ?? self.token ?? ""
    if !bearer.isEmpty { command += " -H 'Authorization: Bearer \(bearer)'" }
    let output = try namespace.run(command)
    let lines = output.split(separator: "\n", omittingEmptySubsequences: false)
    let text = lines.dropLast().joined(separator: "\n")
    return Answer(status: Int(lines.last ?? "") ?? 0, body: JSON(text), text: text)
  }

  /// As the first administrator, changing the first password.
  func signIn() throws {
    let login = try post("/auth/login", #"{"email":"admin@localhost.local","password":"admin123"}"#, token: "")
    #expect(login.status == 200)
    #expect(login.body["data"]["must_change_password"].bool == true)
    let first = try #require(login.body["data"]["access_token"].string)
    let changed = try post(
      "/auth/change-password", #"{"current_password":"admin123","new_password":"\#(Stack.password)"}"#, token: first)
    #expect(changed.status == 200)
    let second: String = try #require(changed.body["data"]["access_token"].string)
    token = second
  }

  // MARK: Observation

  /// Of the daemon.
  func metrics() throws -> String { try namespace.run("curl -sf http://127.0.0.1:9411/metrics") }

  /// The sum of the samples of a family whose labels contain all of `labels`.
  func metric(_ name: String, _ labels: String...) throws -> Int {
    try metrics().split(separator: "\n").filter { line in
      (line.hasPrefix("\(name){") || line.hasPrefix("\(name) ")) && labels.allSatisfy { line.contains($0) }
    }.reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
  }

  /// The sluice command; throws with its output if it fails.
  func sluice(_ arguments: String) throws -> String {
    try namespace.run("HOME=\(folder)/home XDG_CONFIG_HOME=\(folder)/home \(binaries)/sluice \(arguments)")
  }

  /// The sluice command as the first administrator from here on; behind ``signIn()``, which changes the password.
  func logIn() throws { _ = try sluice("login admin@localhost.local --password-stdin <<<'\(Stack.password)'") }
}

struct StackError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// JSON to look into; what isn't there is null.
struct JSON {
  private let value: Any?

  init(_ text: String) { value = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed) }
  private init(value: Any?) { self.value = value }

  subscript(key: String) -> JSON { JSON(value: (value as? [String: Any])?[key]) }
  subscript(index: Int) -> JSON {
    let array = value as? [Any] ?? []
    return JSON(value: array.indices.contains(index) ? array[index] : nil)
  }
  var array: [JSON] { (value as? [Any] ?? []).map { JSON(value: $0) } }
  var string: String? { value as? String }
  var int: Int? { (value as? NSNumber)?.intValue }
  var double: Double? { (value as? NSNumber)?.doubleValue }
  var bool: Bool? { value as? Bool }
  var isNull: Bool { value == nil || value is NSNull }
}
