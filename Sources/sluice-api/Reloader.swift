import Identity
import Logging
import RESTAPI
import ServiceLifecycle
import UnixSignals

/// Takes a new certificate, and other keys of tokens, into use: at SIGHUP, and where the files have changed, looked at
/// twice a minute. Connections that are open go on.
struct Reloader: Service {
  /// Nil: without TLS.
  let certificates: TLSCertificates?
  let keys: TokenKeys
  let tokens: AccessTokens
  let sealer: SecretSealer
  let logger: Logger

  private static let period = Duration.seconds(30)

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await onSignal() }
        group.addTask { try await watch() }
        try await group.waitForAll()
      }
    }
  }

  private func onSignal() async {
    for await _ in await UnixSignalsSequence(trapping: .sighup) {
      await reloadKeys(announces: true)
      report { () throws(TLSFilesError) in
        guard let certificates else { return false }
        try certificates.reload()
        return true
      }
    }
  }

  private func watch() async throws {
    while true {
      try await Task.sleep(for: Self.period)
      await reloadKeys(announces: false)
      report { () throws(TLSFilesError) in try certificates?.reloadIfChanged() ?? false }
    }
  }

  /// Few small files: read whole each time, and what has ended goes.
  private func reloadKeys(announces: Bool) async {
    do {
      try await tokens.use(keys.reload())
      if announces { logger.notice("keys of tokens read again") }
    } catch {
      logger.error("the keys of tokens stay as they were", metadata: ["error": "\(error)"])
    }
    do { try sealer.use(keys.reloadSealingKeys()) } catch {
      logger.error("the keys of secrets stay as they were", metadata: ["error": "\(error)"])
    }
  }

  private func report(_ reload: () throws(TLSFilesError) -> Bool) {
    do throws(TLSFilesError) {
      guard try reload() else { return }
      logger.notice("certificate read again", metadata: ["expires": "\(certificates?.expiresAt ?? 0)"])
    } catch {
      logger.error("the certificate stays as it was", metadata: ["error": "\(error)"])
    }
  }
}
