import Foundation
import NIOSSL
import Synchronization

/// The files that TLS needs, in PEM.
public struct TLSFiles: Hashable, Sendable {
  /// The server's certificate, then those above it.
  public var certificateChain: String
  /// Only its owner and group may read it.
  public var privateKey: String
  /// Who vouches for clients: where it is set, every client must show a certificate.
  public var clientAuthority: String?

  public init(certificateChain: String, privateKey: String, clientAuthority: String? = nil) {
    self.certificateChain = certificateChain
    self.privateKey = privateKey
    self.clientAuthority = clientAuthority
  }
}

/// Why there is no TLS with these files, and the remedy.
public struct TLSFilesError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}

/// The certificate that a connection gets at its handshake. A reload acts from the next handshake on: connections that
/// are open go on as they are. Any thread.
public final class TLSCertificates: Sendable {
  private struct Pair: Sendable {
    let chain: [NIOSSLCertificate]
    let key: NIOSSLPrivateKey
    let stamp: [String]
  }

  public let files: TLSFiles
  private let current: Mutex<Pair>

  /// Reads and checks the files.
  public init(_ files: TLSFiles) throws(TLSFilesError) {
    self.files = files
    current = Mutex(try Self.load(files))
  }

  /// Reads the files again. What cannot be used is thrown and changes nothing.
  public func reload() throws(TLSFilesError) {
    let pair = try Self.load(files)
    current.withLock { $0 = pair }
  }

  /// As ``reload()``, where a file was replaced or written since. True where there is a new certificate.
  public func reloadIfChanged() throws(TLSFilesError) -> Bool {
    guard Self.stamp(files) != current.withLock({ $0.stamp }) else { return false }
    try reload()
    return true
  }

  /// When the certificate ends, in seconds since 1970.
  public var expiresAt: Int64 { current.withLock { $0.chain.first.map { Int64($0.notValidAfter) } ?? 0 } }

  /// TLS 1.2 or newer; asks this object for the certificate at each handshake. The clients' authority is that of the
  /// start.
  func configuration() -> TLSConfiguration {
    let pair = current.withLock { $0 }
    var configuration = Self.configuration(pair.chain, pair.key, files)
    configuration.sslContextCallback = { [self] _, promise in
      let pair = current.withLock { $0 }
      var override = NIOSSLContextConfigurationOverride()
      override.certificateChain = pair.chain.map { .certificate($0) }
      override.privateKey = .privateKey(pair.key)
      promise.succeed(override)
    }
    return configuration
  }

  private static func configuration(
    _ chain: [NIOSSLCertificate], _ key: NIOSSLPrivateKey, _ files: TLSFiles
  ) -> TLSConfiguration {
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    configuration.minimumTLSVersion = .tlsv12
    if let authority = files.clientAuthority {
      configuration.trustRoots = .file(authority)
      // Of the chain alone: clients have no host name.
      configuration.certificateVerification = .noHostnameVerification
    }
    return configuration
  }

  private static func load(_ files: TLSFiles) throws(TLSFilesError) -> Pair {
    try checkMode(files.privateKey)
    let stamp = stamp(files)
    let chain: [NIOSSLCertificate]
    let key: NIOSSLPrivateKey
    do { chain = try NIOSSLCertificate.fromPEMFile(files.certificateChain) } catch {
      throw TLSFilesError("\(files.certificateChain) cannot be read as certificates in PEM (\(error))")
    }
    guard !chain.isEmpty else { throw TLSFilesError("\(files.certificateChain) has no certificate in PEM") }
    do { key = try NIOSSLPrivateKey(file: files.privateKey, format: .pem) } catch {
      throw TLSFilesError("\(files.privateKey) cannot be read as a private key in PEM without a passphrase (\(error))")
    }
    // BoringSSL says whether they belong together, and whether the clients' authority can be read.
    do { _ = try NIOSSLContext(configuration: configuration(chain, key, files)) } catch {
      throw TLSFilesError(
        "\(files.certificateChain) and \(files.privateKey)\(files.clientAuthority.map { " and \($0)" } ?? "") cannot "
          + "be used together (\(error)): the key must be that of the first certificate")
    }
    return Pair(chain: chain, key: key, stamp: stamp)
  }

  private static func checkMode(_ path: String) throws(TLSFilesError) {
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    guard let mode = (attributes?[.posixPermissions] as? NSNumber)?.intValue else {
      throw TLSFilesError("\(path) is not there, or this program's user may not see it")
    }
    guard mode & 0o007 == 0 else {
      throw TLSFilesError("\(path) can be read by everybody: chmod 640 \(path), and replace the key")
    }
  }

  /// Tells a replaced or rewritten file from the one that was read.
  private static func stamp(_ files: TLSFiles) -> [String] {
    [files.certificateChain, files.privateKey].map { path in
      let attributes = try? FileManager.default.attributesOfItem(atPath: (path as NSString).resolvingSymlinksInPath)
      let date = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
      return "\(attributes?[.systemFileNumber] ?? 0) \(attributes?[.size] ?? 0) \(date)"
    }
  }
}
