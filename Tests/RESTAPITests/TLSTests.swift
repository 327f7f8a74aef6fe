import DatabaseSupport
import Foundation
import Testing

@testable import RESTAPI

@Suite("TLS, with the built program")
struct TLSTests {
  /// An authority in a directory of its own, and what it signs.
  private struct Authority {
    let directory: String
    var file: String { "\(directory)/ca.pem" }

    init(in directory: String) throws {
      self.directory = directory
      try TLSTests.shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca "
          + "-keyout \(directory)/ca.key -out \(directory)/ca.pem")
    }

    /// Writes `name.pem` and `name.key`, a file at a time, as an administrator would.
    func sign(_ name: String, commonName: String) throws {
      let path = "\(directory)/\(name)"
      try TLSTests.shell(
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=\(commonName) "
          + "-keyout \(path).newkey -out \(path).csr && "
          + "printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' >\(path).ext && "
          + "openssl x509 -req -in \(path).csr -CA \(directory)/ca.pem -CAkey \(directory)/ca.key -CAcreateserial "
          + "-days 1 -extfile \(path).ext -out \(path).newpem && chmod 600 \(path).newkey && "
          + "mv \(path).newkey \(path).key && mv \(path).newpem \(path).pem && cat \(path).pem \(path).key >\(path).both")
    }
  }

  @discardableResult
  static func shell(_ command: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", command]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    struct Failed: Error { let output: String }
    guard process.terminationStatus == 0 else { throw Failed(output: "\(command)\n\(output)") }
    return output
  }

  private func withServer(
    _ more: [String: String] = [:], _ body: (ExecutableTests.Run, Authority, Int) async throws -> Void
  ) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let authority = try Authority(in: directory)
    try authority.sign("api", commonName: "first")
    var environment = [
      "HTTP_TLS_CERTIFICATE": "\(directory)/api.pem", "HTTP_TLS_KEY": "\(directory)/api.key",
    ]
    for (key, value) in more { environment[key] = value.replacing("DIRECTORY", with: directory) }
    let run = try ExecutableTests.Run(in: directory, environment)
    try await body(run, authority, try await run.port())
    run.terminate()
    #expect(try await run.status() == 0)
  }

  private func curl(_ arguments: String) throws -> String {
    try Self.shell("curl -sS -m 20 -o /dev/null -w '%{http_version} %{http_code} %header{strict-transport-security}' \(arguments)")
  }

  @Test("HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3, with HSTS; nothing older, and no clear text")
  func versions() async throws {
    try await withServer { _, authority, port in
      let url = "--cacert \(authority.file) https://127.0.0.1:\(port)/api/v1/openapi.json"
      let newest = try curl("--http2 \(url)")
      #expect(newest == "2 200 max-age=31536000")
      #expect(try curl("--http1.1 \(url)") == "1.1 200 max-age=31536000")
      #expect(try curl("--tlsv1.2 --tls-max 1.2 \(url)") == "2 200 max-age=31536000")
      #expect(throws: (any Error).self) { try curl("--tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 \(url)") }
      #expect(throws: (any Error).self) { try curl("http://127.0.0.1:\(port)/healthz") }
      #expect(throws: (any Error).self, "an authority that nobody trusts") { try curl("https://127.0.0.1:\(port)/healthz") }
    }
  }

  @Test("Without HTTP/2 only HTTP/1.1 is offered")
  func withoutHTTP2() async throws {
    try await withServer(["HTTP2_ENABLED": "false"]) { _, authority, port in
      let answer = try curl("--http2 --cacert \(authority.file) https://127.0.0.1:\(port)/healthz")
      #expect(answer.hasPrefix("1.1 200"))
    }
  }

  @Test("A client must show a certificate of the clients' authority where one is named")
  func clientCertificates() async throws {
    try await withServer(["HTTP_TLS_CLIENT_CA": "DIRECTORY/ca.pem"]) { _, authority, port in
      let url = "--cacert \(authority.file) https://127.0.0.1:\(port)/healthz"
      #expect(throws: (any Error).self) { try curl(url) }
      try authority.sign("client", commonName: "somebody")
      #expect(try curl("--cert \(authority.directory)/client.both \(url)").contains("200"))
      let other = "\(authority.directory)/other"
      try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
      let stranger = try Authority(in: other)
      try stranger.sign("client", commonName: "stranger")
      #expect(throws: (any Error).self) { try curl("--cert \(other)/client.both \(url)") }
    }
  }

  /// Two requests on one connection with a new certificate in between, then a new connection.
  private static let reloading = """
    import ssl, socket, sys, os, signal, time
    port, directory, pid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    context = ssl.create_default_context(cafile=directory + "/ca.pem")
    def connect():
      return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="127.0.0.1")
    def name(s): return dict(x[0] for x in s.getpeercert()["subject"])["commonName"]
    def ask(s):
      s.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
      text = b""
      while b"ok\\n" not in text:
        part = s.recv(4096)
        if not part: raise SystemExit("the connection was dropped")
        text += part
      return text.split()[1].decode()
    old = connect()
    print(name(old), ask(old))
    os.rename(directory + "/next.key", directory + "/api.key")
    os.rename(directory + "/next.pem", directory + "/api.pem")
    os.kill(pid, signal.SIGHUP)
    for _ in range(200):
      new = connect()
      if name(new) == "second": break
      time.sleep(0.05)
    print(name(new), ask(new))
    print(name(old), ask(old))
    """

  @Test("SIGHUP takes a new certificate into use and drops no connection; a wrong one changes nothing")
  func reload() async throws {
    try await withServer { run, authority, port in
      try authority.sign("next", commonName: "second")
      let script = "\(authority.directory)/reload.py"
      try Self.reloading.write(toFile: script, atomically: true, encoding: .utf8)
      let output = try Self.shell("python3 \(script) \(port) \(authority.directory) \(run.processIdentifier)")
      #expect(output == "first 200\nsecond 200\nfirst 200\n")
      try "no certificate".write(toFile: "\(authority.directory)/api.pem", atomically: true, encoding: .utf8)
      run.signal(SIGHUP)
      let deadline = ContinuousClock.now + .seconds(20)
      while !run.text.contains("the certificate stays as it was"), ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(10))
      }
      #expect(run.text.contains("the certificate stays as it was"))
      #expect(try curl("--cacert \(authority.file) https://127.0.0.1:\(port)/healthz").contains("200"))
    }
  }

  @Test("SIGHUP without TLS ends nothing")
  func hangUpWithoutTLS() async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let run = try ExecutableTests.Run(in: directory, [:])
    let port = try await run.port()
    run.signal(SIGHUP)
    try await Task.sleep(for: .milliseconds(200))
    #expect(try curl("http://127.0.0.1:\(port)/healthz").hasPrefix("1.1 200"))
    run.terminate()
    #expect(try await run.status() == 0)
  }

  @Test("Files that do not fit together are refused with the reason", arguments: [
    "key of another", "open key", "no certificate", "missing",
  ])
  func refusals(_ kind: String) throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let authority = try Authority(in: directory)
    try authority.sign("a", commonName: "a")
    try authority.sign("b", commonName: "b")
    var files = TLSFiles(certificateChain: "\(directory)/a.pem", privateKey: "\(directory)/a.key")
    _ = try TLSCertificates(files)
    switch kind {
    case "key of another": files.privateKey = "\(directory)/b.key"
    case "open key": try Self.shell("chmod 644 \(directory)/a.key")
    case "no certificate": files.certificateChain = "\(directory)/a.key"
    default: files.privateKey = "\(directory)/none.key"
    }
    let error = #expect(throws: TLSFilesError.self) { try TLSCertificates(files) }
    #expect(error?.description.contains(directory) == true)
  }
}
