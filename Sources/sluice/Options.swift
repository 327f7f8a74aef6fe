import ArgumentParser
import AsyncHTTPClient
import ControlProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import NIOSSL

/// Options of every command.
struct OutputOptions: ParsableArguments {
  @Flag(name: [.long, .customShort("j")], help: "Print JSON, errors too (those on standard error).")
  var json = false

  var output: Output { Output(isJSON: json) }
}

/// In which order a list is told.
struct SortOptions: ParsableArguments {
  @Option(
    name: .long, parsing: .unconditional,
    help: ArgumentHelp(
      "Fields of the JSON, with commas; - before one for the greatest first: --sort -created_at,name", valueName: "fields"))
  var sort: String?

  var query: [(String, String)] { sort.map { [("sort", $0)] } ?? [] }
}

/// Options of the commands that talk to the API.
struct APIOptions: ParsableArguments {
  @Option(help: "The API's URL. [SLUICE_API, http://127.0.0.1:8080]")
  var api: String?

  @Flag(help: "Allow http:// to another machine, which shows password and tokens to everybody between.")
  var insecure = false

  @Option(
    help: ArgumentHelp(
      "Certificates in PEM of those who vouch for the API, in place of the system's. [SLUICE_CA]", valueName: "file"))
  var ca: String?

  @Option(
    help: ArgumentHelp(
      "Your own certificate and its private key in one PEM file, where the API wants one. [SLUICE_CERTIFICATE]",
      valueName: "file"))
  var certificate: String?

  @OptionGroup var outputOptions: OutputOptions

  var output: Output { outputOptions.output }

  static let standardURL = "http://127.0.0.1:8080"

  func withAPI<Result>(_ body: (APIClient) async throws -> Result) async throws -> Result {
    let environment = ProcessInfo.processInfo.environment
    let url = api ?? environment["SLUICE_API"].flatMap { $0.isEmpty ? nil : $0 } ?? Self.standardURL
    let base = try APIClient.checked(url: url, allowsClear: insecure)
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.timeout.connect = .seconds(5)
    configuration.tlsConfiguration = try tls(environment)
    configuration.decompression = .enabled(limit: .size(APIClient.answerByteCountMax))
    // A refused connection is told at once, not after the timeout.
    configuration.connectionPool.retryConnectionEstablishment = false
    let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let store = try CredentialStore(environment: environment)
      let key = environment["SLUICE_API_KEY"].flatMap { $0.isEmpty ? nil : $0 }
      let result = try await body(APIClient(base: base, http: http, store: store, key: key))
      try await http.shutdown()
      return result
    } catch {
      try? await http.shutdown()
      throw error
    }
  }
}

extension APIOptions {
  private func tls(_ environment: [String: String]) throws(CommandError) -> TLSConfiguration {
    let named = { (option: String?, variable: String) in
      option ?? environment[variable].flatMap { $0.isEmpty ? nil : $0 }
    }
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.minimumTLSVersion = .tlsv12
    if let path = named(ca, "SLUICE_CA") {
      do { tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path)) } catch {
        throw .usage("\(path) cannot be read as certificates in PEM (\(error))")
      }
    }
    if let path = named(certificate, "SLUICE_CERTIFICATE") {
      do {
        tls.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
        tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: path, format: .pem))
      } catch {
        throw .usage("\(path) must hold a certificate and its private key in PEM (\(error))")
      }
    }
    return tls
  }
}

/// Options of the commands that talk to the API or, without signing in, straight to the daemon on this machine.
struct TargetOptions: ParsableArguments {
  @OptionGroup var apiOptions: APIOptions

  @Option(help: "Talk to sluiced itself over its unix socket, without the API and without signing in. [SLUICE_SOCKET]")
  var socket: String?

  @Option(help: "The node, as the API knows it.")
  var node = "local"

  var output: Output { apiOptions.output }

  typealias Daemon = ControlClient<HTTP2ClientTransport.Posix>

  /// Runs `api` or `daemon`, whichever the options and the environment name: a flag beats a variable, the API's
  /// variable the socket's.
  func run(
    api: (APIClient) async throws -> Void, daemon: @Sendable (Daemon) async throws -> Void
  ) async throws {
    if let path = try socketPath(ProcessInfo.processInfo.environment) {
      try await Self.withDaemon(path, daemon)
    } else {
      try await apiOptions.withAPI(api)
    }
  }

  /// nil: the API.
  func socketPath(_ environment: [String: String]) throws(CommandError) -> String? {
    if let socket {
      if apiOptions.api != nil { throw .usage("--api and --socket exclude each other") }
      return socket
    }
    let isAPINamed = apiOptions.api != nil || environment["SLUICE_API"]?.isEmpty == false
    return isAPINamed ? nil : environment["SLUICE_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }
  }

  private static func withDaemon(_ path: String, _ body: @Sendable (Daemon) async throws -> Void) async throws {
    do {
      let address = try ControlAddress(parsing: path)
      let transport: HTTP2ClientTransport.Posix = try .http2NIOPosix(
        target: .unixDomainSocket(path: address.socketPath), transportSecurity: .plaintext)
      try await withGRPCClient(transport: transport) { client in
        try await body(ControlClient(wrapping: client, address: address))
      }
    } catch let error as ControlError {
      throw CommandError(error)
    }
  }
}

extension [String] {
  /// The words of options that may be given often, each with a list.
  var commaSeparated: [String] { flatMap { $0.split(separator: ",").map(String.init) } }
}
