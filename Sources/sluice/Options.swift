import ArgumentParser
import AsyncHTTPClient
import ControlProtocol
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import NIOCore
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

  /// - Parameter silenceMax: After which an answer that doesn't go on is given up; nil: whoever reads it may take as long as he
  ///   likes, and only a connection that is dead is.
  func withAPI<Result>(
    silenceMax: TimeAmount? = .seconds(60), _ body: (APIClient) async throws -> Result
  ) async throws -> Result {
    let environment = ProcessInfo.processInfo.environment
    let url = api ?? environment["SLUICE_API"].flatMap { $0.isEmpty ? nil : $0 } ?? Self.standardURL
    let base = try APIClient.checked(url: url, allowsClear: insecure)
    var configuration = Self.configuration(silenceMax: silenceMax)
    configuration.tlsConfiguration = try tls(environment)
    let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let store = CredentialStore(environment: environment)
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
  static func configuration(silenceMax: TimeAmount?) -> HTTPClient.Configuration {
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.timeout = HTTPClient.Configuration.Timeout(connect: .seconds(5), read: silenceMax)
    configuration.decompression = .enabled(limit: .size(APIClient.answerByteCountMax))
    // A refused connection is told at once, not after the timeout.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.http1_1ConnectionDebugInitializer = keepAlive
    configuration.http2ConnectionDebugInitializer = keepAlive
    return configuration
  }

  /// A peer that went without a word is noticed within a minute, also where nothing is to be sent (tcp(7)).
  @Sendable private static func keepAlive(_ channel: any Channel) -> EventLoopFuture<Void> {
    let options: [(ChannelOptions.Types.SocketOption, Int)] = [
      (.init(level: .socket, name: .so_keepalive), 1), (.init(level: .tcp, name: .init(rawValue: TCP_KEEPIDLE)), 20),
      (.init(level: .tcp, name: .init(rawValue: TCP_KEEPINTVL)), 10), (.init(level: .tcp, name: .init(rawValue: TCP_KEEPCNT)), 3),
    ]
    return .andAllSucceed(options.map { channel.setOption($0, value: $1) }, on: channel.eventLoop)
  }

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

  @Option(name: .customLong("node"), help: ArgumentHelp("The node, as the API knows it. [local; apply, confirm, withdraw: all]", valueName: "node"))
  var givenNode: String?

  var node: String { givenNode ?? "local" }

  var output: Output { apiOptions.output }

  typealias Daemon = ControlClient<HTTP2ClientTransport.Posix>

  /// Runs `api` or `daemon`, whichever the options and the environment name: a flag beats a variable, the API's
  /// variable the socket's. Nodes are the API's.
  ///
  /// - Parameter silenceMax: As of ``APIOptions/withAPI(silenceMax:_:)``.
  func run(
    silenceMax: TimeAmount? = .seconds(60), api: (APIClient) async throws -> Void, daemon: @Sendable (Daemon) async throws -> Void
  ) async throws {
    if let path = try socketPath(ProcessInfo.processInfo.environment) {
      try await Self.withDaemon(path, daemon)
    } else {
      try await apiOptions.withAPI(silenceMax: silenceMax, api)
    }
  }

  /// nil: the API.
  func socketPath(_ environment: [String: String]) throws(CommandError) -> String? {
    if let socket {
      if apiOptions.api != nil { throw .usage("--api and --socket exclude each other") }
      if givenNode != nil { throw .usage("--node asks the API for a node; --socket talks to the daemon of this machine") }
      return socket
    }
    let isAPINamed = apiOptions.api != nil || givenNode != nil || environment["SLUICE_API"]?.isEmpty == false
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
